import { attentionGradientQ } from "../../kernels/attentionGradientQ.ts";
import { attentionCases } from "./attentionCases.ts";

export default attentionCases(attentionGradientQ);
