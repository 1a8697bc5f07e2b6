import { attentionGradientQ } from "../../kernels/attentionGradientQ.ts";
import { attentionCases } from "./attentionCases.ts";

attentionCases(attentionGradientQ);
