/** Three tokens with two choices each, in rows of three experts with tiles of two: what the kernels that move rows are tested on. */
import { NO_GROUP } from "../../kernels/shared/matmulParts.ts";

export const choices = 2;
export const tokens = 3;
export const rowOf = Uint32Array.of(0, 4, 2, 5, 1, 3);
export const slotOf = Uint32Array.of(0, 4, 2, 5, 1, 3, NO_GROUP, NO_GROUP);
export const weight = Float32Array.of(0.5, 2, -1, 0.25, 3, 1);
