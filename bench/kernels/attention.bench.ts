import { attention } from "../../kernels/attention.ts";
import { attentionCases, decoding } from "./attentionCases.ts";

export default [...attentionCases(attention), ...attentionCases(attention, decoding)];
