import { attentionDelta } from "../../kernels/attentionDelta.ts";
import { attentionCases } from "./attentionCases.ts";

export default attentionCases(attentionDelta, [[[2, 8, 4, 512, 512, 64]], [[2, 8, 4, 512, 512, 64], { dtype: "f16" }]]);
