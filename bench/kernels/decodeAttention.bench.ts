import { decodeCases } from "./decodeCases.ts";

export default [...decodeCases(0), ...decodeCases(256)];
