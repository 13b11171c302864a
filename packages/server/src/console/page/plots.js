// Small plots of rates. What nodes tell are sums since their start; two answers of one node give its rate.
const SVG = "http://www.w3.org/2000/svg";
const POINTS = 150;
const WIDTH = 300;
const HEIGHT = 64;

/** Rates of the cluster, from what each node told last. */
export function rates() {
  const last = new Map();
  return (nodes) => {
    const sum = { publications: 0, deliveries: 0, gapsTold: 0 };
    const names = new Set(nodes.map(({ name }) => name));
    for (const name of last.keys()) if (!names.has(name)) last.delete(name);
    for (const { name, totals, reportedAt } of nodes) {
      const before = last.get(name);
      const seconds = before === undefined ? 0 : (Date.parse(reportedAt) - before.at) / 1000;
      const perSecond = { ...(before?.perSecond ?? { publications: 0, deliveries: 0, gapsTold: 0 }) };
      // What was told through another node may be older than what is known.
      if (seconds > 0)
        for (const key of Object.keys(sum)) perSecond[key] = (totals[key] - before.totals[key]) / seconds;
      if (before === undefined || seconds > 0) last.set(name, { at: Date.parse(reportedAt), totals, perSecond });
      for (const key of Object.keys(sum)) sum[key] += Math.max(perSecond[key], 0);
    }
    return sum;
  };
}

/** Draws into a figure; call it with each new value. */
export function plot(figure) {
  const values = [];
  const name = figure.querySelector("figcaption").textContent;
  const now = document.createElement("output");
  const most = document.createElement("span");
  most.className = "most";
  const svg = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
  const area = shape("polygon", { class: "area" });
  const line = shape("polyline", { class: "line" });
  svg.append(area, line);
  figure.append(now, svg, most);
  return (value) => {
    values.push(value);
    if (values.length > POINTS) values.shift();
    const highest = Math.max(...values);
    const points = values.map((each, index) => {
      const x = WIDTH - ((values.length - 1 - index) * WIDTH) / (POINTS - 1);
      const y = HEIGHT - 2 - (highest === 0 ? 0 : (each / highest) * (HEIGHT - 4));
      return `${x.toFixed(1)},${y.toFixed(1)}`;
    });
    const start = points[0].split(",")[0];
    line.setAttribute("points", points.join(" "));
    area.setAttribute("points", `${start},${HEIGHT} ${points.join(" ")} ${WIDTH},${HEIGHT}`);
    svg.setAttribute("aria-label", `${name}: ${short(value)} now, at most ${short(highest)} in the last five minutes`);
    now.textContent = short(value);
    most.textContent = `at most ${short(highest)}`;
  };
}

export function short(value) {
  if (value >= 1e6) return `${(value / 1e6).toFixed(1)} M`;
  if (value >= 1e4) return `${(value / 1e3).toFixed(1)} k`;
  return value >= 100 || Number.isInteger(value) ? String(Math.round(value)) : value.toFixed(1);
}

function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
