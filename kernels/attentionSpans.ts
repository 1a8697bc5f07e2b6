import { kernel, type Uniforms } from "../framework/device/kernel.ts";

const TOKENS = 8; // per lane
const LANES = 32;

/**
 * Packed documents, ready for the attention kernels: for every token of `segments` [batch, tokens] (i32), spans
 * [batch, tokens, 2] (u32) holds the first token that has the same segment, which names the document, and the token behind the
 * last one. Segments need not be contiguous, but only then are no keys of others visited. Made once a batch, for all layers.
 */
export const attentionSpans = kernel({
  name: "attentionSpans",
  bindings: { segments: "read", spans: "write" },
  types: () => ({ segments: "i32", spans: "vec2u" }),
  uniforms: { batch: "u32", tokens: "u32" },
  workgroups: (_, __, { batch, tokens }: Uniforms) => [Math.ceil(tokens / (TOKENS * LANES)), batch],
  cost: (_, { batch, tokens }) => ({ flops: 0, bytes: batch * tokens * 12 }),
  wgsl: () => {
    const mine = Array.from({ length: TOKENS }, (_, i) => i);
    const each = (statement: (i: number) => string) => mine.map(statement).join("\n      ");
    return `
    @compute @workgroup_size(${LANES})
    fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
      let row = group.y * u.tokens;
      let token = (group.x * ${LANES}u + lane) * ${TOKENS}u;
      ${each((i) => `let own${i} = segments[row + min(token + ${i}u, u.tokens - 1u)]; var first${i} = u.tokens; var end${i} = 0u;`)}
      for (var t = 0u; t < u.tokens; t++) {
        let other = segments[row + t];
        ${each((i) => `first${i} = select(first${i}, min(first${i}, t), own${i} == other); end${i} = select(end${i}, t + 1u, own${i} == other);`)}
      }
      ${each((i) => `if (token + ${i}u < u.tokens) { spans[row + token + ${i}u] = vec2u(first${i}, end${i}); }`)}
    }`;
  },
});
