"""What transformers, and PEFT where it is installed, make of our folders, and folders of theirs for us: a job in, answers out, as JSON."""
import io, json, logging, sys
import torch, transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

job = json.load(sys.stdin)
tokens = torch.tensor(job["tokens"])
log = io.StringIO()
transformers.logging.disable_default_handler()
transformers.logging.add_handler(logging.StreamHandler(log))
transformers.logging.set_verbosity_warning()
transformers.logging.disable_progress_bar()


def load(path):
    """A model in f32, and what loading complained of."""
    log.truncate(0)
    model, report = AutoModelForCausalLM.from_pretrained(path, output_loading_info=True)
    return model.float().eval(), [*(f"{kind} {list(names)}" for kind, names in report.items() if names), *filter(None, [log.getvalue()])]


def answers(model):
    with torch.no_grad():
        logits = model(tokens).logits
    prompt = tokens[:1, :9]
    made = model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=24)
    return {"logits": logits.flatten().tolist(), "greedy": made[0, 9:].tolist()}


def ours(path):
    model, problems = load(path)
    return {"problems": problems, "end": model.generation_config.eos_token_id, **answers(model)}


def words(path):
    tokenizer = AutoTokenizer.from_pretrained(path)
    chats = [tokenizer.apply_chat_template(**chat, tokenize=False) for chat in job["chats"]]
    ids = [tokenizer(text)["input_ids"] for text in [*job["texts"], *chats]]
    plain = [tokenizer.decode(row, skip_special_tokens=True) for row in ids]
    inputs = sorted(tokenizer("a").keys())
    return {"inputs": inputs, "chats": chats, "ids": ids, "decoded": [tokenizer.decode(row) for row in ids], "plain": plain}


def randomise(model):
    """Weights that are large enough to tell, and norms and biases that are not what they begin with."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(torch.randn(weight.shape) / (8 if weight.dim() > 1 else 4) + ("norm" in name))


def rope(**scaling):
    if int(transformers.__version__.split(".")[0]) < 5:
        return {"rope_theta": 5e3, "rope_scaling": scaling or None}
    return {"rope_parameters": {"rope_theta": 5e3, "rope_type": "default", **scaling}}


yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
sliding = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 0}
# Settings that we read, and those that we refuse by the field's name; of every kind of model, then of one.
read = {"plain": {}, "tied": {"tie_word_embeddings": True}, "ungrouped": {"num_key_value_heads": 4}}
llama3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
read |= {"llama3": rope(**llama3), "yarn": rope(**yarn), "yarn_of_its_own_length": rope(**{**yarn, "original_max_position_embeddings": 256})}
refused = {"mscale": rope(**yarn, mscale=1.0, mscale_all_dim=0.5), "truncate": rope(**yarn, truncate=False)}
refused |= {"rope_type": rope(rope_type="linear", factor=2.0), "hidden_act": {"hidden_act": "gelu"}}
kinds = {
    "llama": ({"wide": {"head_dim": 32}}, {"attention_bias": {"attention_bias": True}, "mlp_bias": {"mlp_bias": True}}),
    "qwen2": ({}, {"use_sliding_window": sliding}),
    "qwen3": ({"wide": {"head_dim": 32}}, {"attention_bias": {"attention_bias": True}}),
    "qwen3_moe": ({"normalised": {"norm_topk_prob": True}}, {"mlp_only_layers": {"mlp_only_layers": [0]}}),
}


def theirs(folder):
    made = {}
    for kind, (more, less) in kinds.items():
        basis = {**job["sizes"], **rope(), **(job["experts"] if kind == "qwen3_moe" else {})}
        for name, setting in {**read, **more, **refused, **less}.items():
            dtype = [torch.float32, torch.float16, torch.bfloat16][len(made) % 3]
            model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**basis, **setting}))
            randomise(model)
            path = f"{folder}/{kind}_{name}"
            model.to(dtype).save_pretrained(path, max_shard_size="60KB" if "yarn" in name else "5GB")
            made[path] = {"refused": name} if name in {**refused, **less} else answers(load(path)[0])
    return made


def adapters(base, mine, folder):
    try:
        from peft import LoraConfig, PeftModel, get_peft_model
    except ImportError:
        return {}

    def with_adapter(path):
        return answers(PeftModel.from_pretrained(load(base)[0], path).eval())

    reads = {"all": {"target_modules": "all-linear"}, "some": {"target_modules": r".*\.1\..*(q|down)_proj", "lora_alpha": 3}}
    refuses = {"use_rslora": True, "use_dora": True, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"q_proj": 3}, "bias": "lora_only"}
    refuses |= {"modules_to_save": ["lm_head"], "init_lora_weights": "pissa", "alora_invocation_tokens": [5, 6]}
    made = {mine: with_adapter(mine)}
    for name, setting in {**reads, **{key: {key: value} for key, value in refuses.items()}}.items():
        basis = {"task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 16, "target_modules": ["q_proj"]}
        model = get_peft_model(load(base)[0], LoraConfig(**{**basis, **setting}))
        randomise(model)
        path = f"{folder}/adapter_{name}"
        model.save_pretrained(path)
        made[path] = {"refused": name} if name in refuses else with_adapter(path)
    return made


torch.manual_seed(0)
report = {"ours": {path: ours(path) for path in job["models"]}, "words": {path: words(path) for path in job["tokenizers"]}}
report |= {"theirs": theirs(job["folder"]), "adapters": adapters(job["base"], job["adapter"], job["folder"])}
print(json.dumps(report))
