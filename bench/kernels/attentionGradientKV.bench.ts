import { attentionGradientKV } from "../../kernels/attentionGradientKV.ts";
import { attentionCases } from "./attentionCases.ts";

export default attentionCases(attentionGradientKV);
