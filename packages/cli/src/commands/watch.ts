import { Command } from "commander";
import { Failure, reasonOf, usage } from "../failure.ts";
import type { Io } from "../io.ts";
import { settingOf } from "../settings.ts";
import { channelName, list } from "./publishing.ts";

interface Options {
  readonly databaseUrl?: string;
  readonly profile?: string;
  readonly dryRun?: boolean;
}

interface WatchOptions extends Options {
  readonly channel?: string;
  readonly columns?: string[];
  readonly toUser?: string;
}

export function watchCommand(io: Io): Command {
  const command = new Command("watch")
    .description(
      "Have every change of a table published, by triggers that Carillon keeps. A second call replaces the first.",
    )
    .argument("<table>", 'as in SQL: orders, app.orders, "Order"')
    .option("--channel <name>", "where to publish (default: the table's name)")
    .option("--columns <names>", "only these columns; commas part them (default: the whole row)", list)
    .option("--to-user <column>", "the column that names the only user who hears of a row");
  return withDatabase(command)
    .addHelpText(
      "after",
      `
Whoever may put triggers on the table may have it watched.

Examples:
  carillon watch orders
  carillon watch app.orders --channel orders --columns id,status --to-user customer_id
  carillon watch orders --dry-run | psql app`,
    )
    .action((table: string, options: WatchOptions) =>
      apply(watchSql(table, options), options, `watching ${table}`, io),
    );
}

export function unwatchCommand(io: Io): Command {
  const command = new Command("unwatch")
    .description("Publish a table's changes no longer. Harmless for a table that is not watched.")
    .argument("<table>", "as in SQL");
  return withDatabase(command)
    .addHelpText("after", "\nExamples:\n  carillon unwatch orders\n  carillon unwatch app.orders --dry-run")
    .action((table: string, options: Options) => {
      const sql = `select carillon.unwatch(${literal(table)}::regclass);`;
      return apply(sql, options, `no longer watching ${table}`, io);
    });
}

function withDatabase(command: Command): Command {
  return command
    .option("--dry-run", "print the SQL instead of running it")
    .option("--database-url <url>", "postgres://…; @file reads it from a file (DATABASE_URL)")
    .option("--profile <name>", "a profile of ~/.config/carillon/config.json (CARILLON_PROFILE)");
}

/** What is printed is what is run. */
function watchSql(table: string, { channel, columns, toUser }: WatchOptions): string {
  const args = [
    `${literal(table)}::regclass`,
    literal(channelName(channel ?? lastName(table))),
    ...(columns === undefined ? [] : [`columns => array[${columns.map(literal).join(", ")}]`]),
    ...(toUser === undefined ? [] : [`to_user => ${literal(toUser)}`]),
  ];
  return `select carillon.watch(${args.join(", ")});`;
}

/** Of `app."Order"`: `Order`. */
function lastName(table: string): string {
  const [, quoted, plain] = /(?:^|\.)\s*(?:"((?:[^"]|"")+)"|([^".\s]+))\s*$/.exec(table) ?? [];
  if (quoted !== undefined) return quoted.replaceAll('""', '"');
  if (plain !== undefined) return plain.toLowerCase();
  throw usage(`${JSON.stringify(table)} is not the name of a table`, 'write it as in SQL: orders, app.orders, "Order"');
}

async function apply(sql: string, options: Options, done: string, io: Io): Promise<void> {
  if (options.dryRun === true) return io.out.write(`${sql}\n`);
  const url = settingOf("databaseUrl", "DATABASE_URL", options.databaseUrl, options.profile, io);
  if (url === undefined) {
    throw usage("there is no database", "set DATABASE_URL or --database-url; --dry-run prints the SQL for psql");
  }
  const { createPool } = await import("@carillon/postgres");
  const pool = createPool(url, { debug() {}, info() {}, warn() {}, error() {} });
  try {
    await pool.query(sql);
  } catch (error) {
    throw refused(error);
  } finally {
    await pool.end();
  }
  io.out.write(`${done}\n`);
}

function refused(error: unknown): Failure {
  const { code, hint } = error as { code?: string; hint?: string };
  const fixes: Readonly<Record<string, string>> = {
    "3F000": "Carillon's schema is not in this database: start a node once with MIGRATE=on, or correct DATABASE_URL",
    "42P01": "correct the table's name; names with capital letters are quoted as in SQL",
    "42501": "log in as the table's owner, or grant trigger on the table to this role",
    ECONNREFUSED: "check the host and port in DATABASE_URL, and that Postgres runs",
    "28P01": "check user and password in DATABASE_URL",
  };
  return new Failure(`Postgres: ${reasonOf(error)}`, fixes[code ?? ""] ?? hint);
}

/** With `standard_conforming_strings`, which is on unless somebody wants trouble, only quotes mean something. */
function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}
