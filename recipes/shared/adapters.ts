/** LoRA adapters by name. */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { readJsonObject } from "../../framework/checkpoint/source.ts";
import { loadAdapter } from "../../framework/model/adapter.ts";
import type { LoraAdapter } from "../../framework/model/lora.ts";
import { type Base, BaseError } from "./base.ts";

const home = join("out", "lora");

/** Adapters that `recipes/lora.ts` has made. */
export function adapterNames(): string[] {
  if (!existsSync(home)) return [];
  return readdirSync(home)
    .filter((name) => existsSync(join(home, name, "adapter_config.json")))
    .sort();
}

/** Where an adapter lies: a folder in out/lora, or a path. */
const pathOf = (name: string): string | undefined => [join(home, name), name].find(existsSync);

/** The run that an adapter was trained on, where it says so and that is still there. */
export function baseOf(name: string): string | undefined {
  const path = name && pathOf(name);
  const config = path && join(path, "adapter_config.json");
  const base = config && existsSync(config) ? readJsonObject(config).base_model_name_or_path : undefined;
  return typeof base === "string" && existsSync(join(base, "tokenizer.json")) ? base : undefined;
}

/**
 * Merges an adapter into the model's weights; `remove()` takes it out again.
 * @param name of a folder in out/lora, or the path of a folder or a `.pth`
 * @throws BaseError where there is none; AdapterError, FileError where it does not fit the model or cannot be read
 */
export async function useAdapter({ model, tokenizer }: Base, name: string): Promise<LoraAdapter> {
  const path = pathOf(name);
  if (path === undefined) {
    const names = adapterNames();
    const known = names.length ? `${home} holds ${names.join(", ")}` : "bun recipes/lora.ts trains one";
    throw new BaseError(
      `lora: there is no adapter ${JSON.stringify(name)}, neither in ${home} nor as a path; ${known}`,
    );
  }
  return (await loadAdapter(model, path, { tokenizer })).merge();
}
