import { readFileSync, statSync } from "node:fs";
import { MicroMindError } from "../device/errors.ts";

/** A tokenizer file that cannot be used, or a tokenizer that cannot be trained; the message begins with the culprit. */
export class TokenizerError extends MicroMindError {}

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

/** Vocabularies in the field stay under 300,000; a hostile id must not make an array of gigabytes. */
const largestId = 1 << 22;

/** Takes values of a wanted type out of JSON, or fails with the file's name and the place. */
export class Reader {
  constructor(readonly file: string) {}

  fail(message: string): never {
    throw new TokenizerError(`${this.file}: ${message}`);
  }

  object(value: unknown, where: string): JsonObject {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      this.fail(`${where} is ${describe(value)}, expected an object`);
    }
    return value as JsonObject;
  }

  array(value: Json | undefined, where: string): Json[] {
    if (!Array.isArray(value)) this.fail(`${where} is ${describe(value)}, expected an array`);
    return value;
  }

  string(value: Json | undefined, where: string): string {
    if (typeof value !== "string") this.fail(`${where} is ${describe(value)}, expected a string`);
    return value;
  }

  optionalString(value: Json | undefined, where: string): string | undefined {
    return value === undefined || value === null ? undefined : this.string(value, where);
  }

  flag(value: Json | undefined, where: string, otherwise: boolean): boolean {
    if (value === undefined) return otherwise;
    if (typeof value !== "boolean") this.fail(`${where} is ${describe(value)}, expected true or false`);
    return value;
  }

  id(value: Json | undefined, where: string): number {
    if (typeof value !== "number" || !Number.isInteger(value) || value < 0 || value > largestId) {
      this.fail(`${where} is ${describe(value)}, expected a token id from 0 to ${largestId}`);
    }
    return value;
  }
}

/** A value in an error message, cut short. */
export function describe(value: unknown): string {
  if (value === undefined) return "missing";
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

/** JSON larger than this is no tokenizer. Bytes. */
const largestFile = 256 * 2 ** 20;

/**
 * Reads a file that holds one JSON object.
 * @throws TokenizerError that names the file, where it cannot be read or is something else
 */
export function readJsonFile(file: string): JsonObject {
  let text: string;
  try {
    const { size } = statSync(file);
    if (size > largestFile) throw new TokenizerError(`${file}: ${size} bytes is too large for a tokenizer file`);
    text = readFileSync(file, "utf8");
  } catch (error) {
    if (error instanceof TokenizerError) throw error;
    throw new TokenizerError(`${file}: cannot be read (${(error as Error).message})`);
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    const reason = text.trim() === "" ? "it is empty" : (error as Error).message;
    throw new TokenizerError(`${file}: is not JSON (${reason}); it may be cut short: copy or download it again`);
  }
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw new TokenizerError(`${file}: holds ${describe(json)}, expected an object`);
  }
  return json as JsonObject;
}
