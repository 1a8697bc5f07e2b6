import { attentionGradientKV } from "../../kernels/attentionGradientKV.ts";
import { attentionCases } from "./attentionCases.ts";

attentionCases(attentionGradientKV);
