import { type Bindings, type ChildLoggerOptions, type DestinationStream, type Logger, pino } from "pino";
import { redact, redactText } from "./redact.ts";

export interface LoggerOptions {
  readonly level: string;
  /** The node's opaque name; on every line. */
  readonly node?: string;
  /** Where the lines go; stdout when absent. */
  readonly destination?: DestinationStream;
}

type ChildOf = (this: Logger, fields: Bindings, options?: ChildLoggerOptions) => Logger;

/** JSON lines on stdout: level by name, ISO time, secrets redacted whatever field they come in. */
export function createLogger(options: LoggerOptions): Logger {
  const logger = pino(
    {
      level: options.level,
      base: options.node === undefined ? {} : { node: options.node },
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: {
        level: (label) => ({ level: label }),
        log: (fields) => redact(fields) as Record<string, unknown>,
      },
      // `formatters.log` has made plain objects of errors before serializers see them.
      serializers: { err: (value) => value },
      hooks: {
        logMethod(args, method) {
          const [first] = args as unknown[];
          // pino would take the message from the error as it is.
          if (first instanceof Error)
            return method.apply(this, [{ err: first }, redactText(first.message)] as unknown as typeof args);
          const safe = args.map((arg, i) => (typeof arg === "string" ? redactText(arg) : i === 0 ? arg : redact(arg)));
          return method.apply(this, safe as typeof args);
        },
      },
    },
    options.destination ?? pino.destination({ fd: 1, sync: true }),
  );
  // pino prints a child's fields as they are; children inherit this from their parent.
  const child: ChildOf = logger.child;
  logger.child = function redactedChild(this: Logger, fields: Bindings, options?: ChildLoggerOptions) {
    return child.call(this, redact(fields) as Bindings, options);
  } as unknown as Logger["child"];
  return logger;
}
