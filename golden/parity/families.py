"""The families beyond GPT-NeoX, GPT-2 and LLaMA: small configs of odd shapes,
and where in transformers' modules each hook site is.

A family is a table of module names; what its modules do not show (scores, the
pattern, rotated queries and keys) is caught where every eager attention passes
it: at the softmax, and at the function or method that is given both.
"""

from dataclasses import dataclass

import torch
import transformers

F32, F16, BF16 = torch.float32, torch.float16, torch.bfloat16


@dataclass(frozen=True)
class Family:
    """Names of modules, inside the model or inside a block."""

    body: str
    layers: str
    embed: str  # its output enters the residual stream
    final_norm: str
    ln1: str
    ln2: str | None  # None where attention's norm is the MLP's too
    out: str  # its input is z, its output attention's
    up: str
    down: str
    pos_embed: str | None = None
    qkv: str = "self_attn.{}_proj"  # with {}: a module each; without: fused
    gate: str | None = None
    attn_post: str | None = None  # a norm between attention and the residual
    mlp_post: str | None = None
    rms: bool = False
    post_norm: bool = False
    sequential: bool = True


LLAMA = dict(
    body="model", layers="layers", embed="embed_tokens", final_norm="norm",
    ln1="input_layernorm", ln2="post_attention_layernorm", out="self_attn.o_proj",
    gate="mlp.gate_proj", up="mlp.up_proj", down="mlp.down_proj", rms=True)
GEMMA = LLAMA | dict(
    ln2="pre_feedforward_layernorm", attn_post="post_attention_layernorm",
    mlp_post="post_feedforward_layernorm")
GPT = dict(body="transformer", layers="h", embed="wte", final_norm="ln_f", ln1="ln_1")
MEGATRON = dict(
    body="transformer", layers="h", embed="word_embeddings", final_norm="ln_f",
    ln1="input_layernorm", ln2="post_attention_layernorm", qkv="self_attention.query_key_value",
    out="self_attention.dense", up="mlp.dense_h_to_4h", down="mlp.dense_4h_to_h")
OPT = dict(
    body="model.decoder", layers="layers", embed="embed_tokens", pos_embed="embed_positions",
    final_norm="final_layer_norm", ln1="self_attn_layer_norm", ln2="final_layer_norm",
    out="self_attn.out_proj", up="fc1", down="fc2")


def family(config):
    """The table of a config's model_type and form."""
    kind = config.model_type
    if kind == "gptj":
        return Family(**GPT, ln2=None, qkv="attn.{}_proj", out="attn.out_proj", up="mlp.fc_in",
                      down="mlp.fc_out", sequential=False)
    if kind == "gpt_neo":
        return Family(**GPT, ln2="ln_2", qkv="attn.attention.{}_proj",
                      out="attn.attention.out_proj", up="mlp.c_fc", down="mlp.c_proj",
                      pos_embed="wpe")
    if kind == "opt":
        projected = config.word_embed_proj_dim != config.hidden_size
        embed = "project_in" if projected else "embed_tokens"
        return Family(**OPT | dict(embed=embed), post_norm=not config.do_layer_norm_before)
    if kind == "bloom":
        return Family(**MEGATRON | dict(embed="word_embeddings_layernorm"))
    if kind == "falcon":
        two = config.new_decoder_architecture and config.num_ln_in_parallel_attn != 1
        if two:
            return Family(**MEGATRON | dict(ln1="ln_attn", ln2="ln_mlp"), sequential=False)
        if config.new_decoder_architecture or config.parallel_attn:
            return Family(**MEGATRON | dict(ln2=None), sequential=False)
        return Family(**MEGATRON)
    if kind == "phi":
        return Family(
            body="model", layers="layers", embed="embed_tokens", final_norm="final_layernorm",
            ln1="input_layernorm", ln2=None, out="self_attn.dense", up="mlp.fc1",
            down="mlp.fc2", sequential=False)
    if kind == "stablelm":
        parallel = config.use_parallel_residual
        ln2 = None if parallel else "post_attention_layernorm"
        return Family(**LLAMA | dict(rms=False, ln2=ln2), sequential=not parallel)
    if kind in ("gemma2", "gemma3_text"):
        return Family(**GEMMA)
    return Family(**LLAMA)  # mistral, qwen2, qwen3


def find(module, path):
    for name in path.split("."):
        module = getattr(module, name)
    return module


def shape_of(config):
    """(query heads, key/value heads, head width)."""
    heads = getattr(config, "num_attention_heads", None) or config.num_heads
    kv = getattr(config, "num_key_value_heads", None) or heads
    if config.model_type == "falcon":
        kv = config.num_kv_heads
        if not config.new_decoder_architecture:
            kv = 1 if config.multi_query else heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    return heads, kv, width


def split_fused(config, fused):
    """Q, K and V [1, pos, heads, width] as the model itself cuts them."""
    heads, kv, width = shape_of(config)
    fused = fused.reshape(1, fused.shape[1], kv, heads // kv + 2, width)
    q = fused[:, :, :, :-2].reshape(1, fused.shape[1], heads, width)
    return q, fused[:, :, :, -2], fused[:, :, :, -1]


class Catch:
    """Scores, pattern and rotated queries and keys, layer by layer.

    Inside a block's attention the softmax is called once, with the scores;
    which block it is, the attention's own hook says.
    """

    def __init__(self, cap, config, module_file):
        self.cap, self.config, self.file = cap, config, module_file
        self.layer, self.undo = None, []
        softmax = torch.nn.functional.softmax

        def caught(x, *args, **kwargs):
            pattern = softmax(x, *args, **kwargs)
            if self.layer is not None:
                b = f"blocks.{self.layer}.attn"
                # Masks are added as the type's lowest number here.
                hidden = x < torch.finfo(F32).min / 2
                cap.put(f"{b}.hook_attn_scores", x.masked_fill(hidden, float("-inf")))
                cap.put(f"{b}.hook_pattern", pattern)
            return pattern

        self.replace(torch.nn.functional, "softmax", caught)
        rotary = config.model_type not in ("gpt_neo", "opt", "bloom")
        if rotary and config.model_type == "falcon":
            rotate = module_file.apply_rotary_pos_emb

            def rotated(q, k, *args, **kwargs):
                q, k = rotate(q, k, *args, **kwargs)
                self.rotated(q, k)
                return q, k

            self.replace(module_file, "apply_rotary_pos_emb", rotated)
        elif rotary and config.model_type == "gptj":
            attend = module_file.GPTJAttention._attn

            def attended(module, query, key, *args, **kwargs):
                self.rotated(query, key)
                return attend(module, query, key, *args, **kwargs)

            self.replace(module_file.GPTJAttention, "_attn", attended)
        elif rotary:
            forward = module_file.eager_attention_forward

            def forwarded(module, query, key, *args, **kwargs):
                self.rotated(query, key)
                return forward(module, query, key, *args, **kwargs)

            self.replace(module_file, "eager_attention_forward", forwarded)

    def replace(self, owner, name, new):
        self.undo.append((owner, name, getattr(owner, name)))
        setattr(owner, name, new)

    def rotated(self, q, k):
        heads, kv, _ = shape_of(self.config)
        k = k[:, :: k.shape[1] // kv]  # one of each group, where they were repeated
        assert q.shape[1] == heads and k.shape[1] == kv
        self.cap.put(f"blocks.{self.layer}.attn.hook_rot_q", q.transpose(1, 2))
        self.cap.put(f"blocks.{self.layer}.attn.hook_rot_k", k.transpose(1, 2))

    def restore(self):
        for owner, name, old in reversed(self.undo):
            setattr(owner, name, old)


def run(model, cap, ids, module_file):
    """One pass with every site recorded; gives the logits."""
    config = model.config
    names = family(config)
    heads, kv, width = shape_of(config)
    body = find(model, names.body)
    catch = Catch(cap, config, module_file)

    def norm(module, prefix):
        eps = getattr(module, "variance_epsilon", None) or module.eps
        cap.norm(module, prefix, eps, not names.rms)

    cap.output(find(body, names.embed), "hook_embed")
    if names.pos_embed:
        find(body, names.pos_embed).register_forward_hook(
            lambda m, i, o: cap.put("hook_pos_embed", o.expand(1, ids.shape[1], -1)))
    layers = find(body, names.layers)
    for l, block in enumerate(layers):
        b = f"blocks.{l}"

        def enter(m, i, k=None, l=l):
            catch.layer = l

        block.register_forward_pre_hook(enter)
        block.register_forward_hook(lambda m, i, o: setattr(catch, "layer", None))
        cap.output(block, f"{b}.hook_resid_post")
        first, second = find(block, names.ln1), names.ln2 and find(block, names.ln2)
        norm(first, f"{b}.ln1")
        if second is not None:
            norm(second, f"{b}.ln2")
        block.register_forward_pre_hook(
            lambda m, args, kwargs, b=b: cap.put(
                f"{b}.hook_resid_pre", args[0] if args else kwargs["hidden_states"]),
            with_kwargs=True)
        if names.post_norm:
            cap.output(first, f"{b}.hook_resid_mid")
        elif names.sequential:
            cap.input(second, f"{b}.hook_resid_mid")
        if "{}" in names.qkv:
            for name, n in zip("qkv", (heads, kv, kv)):
                find(block, names.qkv.format(name)).register_forward_hook(
                    lambda m, i, o, b=b, name=name, n=n: cap.put(
                        f"{b}.attn.hook_{name}", o.reshape(1, -1, n, width)))
        else:
            def fused(m, i, o, b=b):
                for name, part in zip("qkv", split_fused(config, o)):
                    cap.put(f"{b}.attn.hook_{name}", part)

            find(block, names.qkv).register_forward_hook(fused)
        out = find(block, names.out)
        out.register_forward_pre_hook(
            lambda m, i, b=b: cap.put(f"{b}.attn.hook_z", i[0].reshape(1, -1, heads, width)))
        cap.output(find(block, names.attn_post or names.out), f"{b}.hook_attn_out")
        cap.output(find(block, names.gate or names.up), f"{b}.mlp.hook_pre")
        if names.gate:
            cap.output(find(block, names.up), f"{b}.mlp.hook_pre_linear")
        cap.input(find(block, names.down), f"{b}.mlp.hook_post")
        cap.output(find(block, names.mlp_post or names.down), f"{b}.hook_mlp_out")
    final = getattr(body, names.final_norm, None)
    if final is not None:
        norm(final, "ln_final")
    try:
        logits = model(ids).logits
    finally:
        catch.restore()
    sites = cap.values
    for l, block in enumerate(layers):
        b = f"blocks.{l}"
        z, w = sites[f"{b}.attn.hook_z"], find(block, names.out).weight.T.float()
        cap.put(f"{b}.attn.hook_result",
                torch.einsum("bthd,hdm->bthm", z, w.reshape(heads, width, -1)))
        for site in ("hook_resid_pre", "hook_resid_mid", "hook_resid_post", "hook_attn_out",
                     "hook_mlp_out", "mlp.hook_pre", "mlp.hook_pre_linear", "mlp.hook_post"):
            if f"{b}.{site}" in sites:  # OPT's MLP is given rows without a batch axis
                sites[f"{b}.{site}"] = sites[f"{b}.{site}"].reshape(1, ids.shape[1], -1)
        for site in ("ln2.hook_scale", "ln2.hook_normalized"):
            if f"{b}.{site}" in sites:
                sites[f"{b}.{site}"] = sites[f"{b}.{site}"].reshape(1, ids.shape[1], -1)
        # Gemma normalizes attention's output before it is added.
        # forward, because calling the module would record this value too.
        post = find(block, names.attn_post).forward if names.attn_post else (lambda x: x)
        check(sites, b, names, find(block, names.out).bias, post)
    return logits


def check(sites, b, names, bias, post_norm):
    """The parts belong together, as transformers computed them."""
    at = lambda name: sites[f"{b}.{name}"]
    v, pattern, z = at("attn.hook_v"), at("attn.hook_pattern"), at("attn.hook_z")
    v = v.repeat_interleave(z.shape[2] // v.shape[2], dim=2)
    torch.testing.assert_close(torch.einsum("bhqk,bkhd->bqhd", pattern, v), z)
    torch.testing.assert_close(at("attn.hook_attn_scores").softmax(-1), pattern)
    shares = at("attn.hook_result").sum(2)
    if bias is not None:
        shares = shares + bias
    torch.testing.assert_close(post_norm(shares), at("hook_attn_out"))
    if names.post_norm:
        # ln2 normalizes this sum, and ln1 that of resid_pre and attn_out.
        total = at("hook_resid_mid") + at("hook_mlp_out")
        total = total - total.mean(-1, keepdim=True)
        torch.testing.assert_close(total / at("ln2.hook_scale"), at("ln2.hook_normalized"))
        total = at("hook_resid_pre") + at("hook_attn_out")
        total = total - total.mean(-1, keepdim=True)
        torch.testing.assert_close(total / at("ln1.hook_scale"), at("ln1.hook_normalized"))
        return
    total = at("hook_resid_pre") + at("hook_attn_out")
    if names.sequential:
        torch.testing.assert_close(total, at("hook_resid_mid"))
    torch.testing.assert_close(total + at("hook_mlp_out"), at("hook_resid_post"))


def rope(theta=10000.0, **more):
    return {"rope_type": "default", "rope_theta": theta, **more}


def gptj(**over):
    base = dict(vocab_size=53, n_embd=36, n_layer=2, n_head=3, n_positions=32, rotary_dim=6,
                n_inner=40, activation_function="gelu_new", tie_word_embeddings=False)
    return transformers.GPTJConfig(**base | over)


def gpt_neo(**over):
    base = dict(vocab_size=49, hidden_size=30, num_layers=3, num_heads=5, window_size=4,
                attention_types=[[["global", "local"], 1], [["global"], 1]],
                intermediate_size=44, max_position_embeddings=32, activation_function="gelu_new")
    return transformers.GPTNeoConfig(**base | over)


def opt(**over):
    base = dict(vocab_size=51, hidden_size=30, num_hidden_layers=2, num_attention_heads=3,
                ffn_dim=44, max_position_embeddings=24, word_embed_proj_dim=30,
                activation_function="relu", pad_token_id=1, bos_token_id=2, eos_token_id=2)
    return transformers.OPTConfig(**base | over)


def bloom(**over):
    base = dict(vocab_size=55, hidden_size=36, n_layer=2, n_head=6, layer_norm_epsilon=1e-5)
    return transformers.BloomConfig(**base | over)


def llama_form(kind, **over):
    base = dict(
        vocab_size=57, hidden_size=36, num_hidden_layers=3, num_attention_heads=6,
        num_key_value_heads=2, intermediate_size=44, max_position_embeddings=64,
        rms_norm_eps=1e-6, hidden_act="silu", tie_word_embeddings=True, rope_parameters=rope(),
        bos_token_id=None, eos_token_id=None, pad_token_id=None)
    return kind(**base | over)


def gemma(kind, **over):
    base = dict(
        vocab_size=59, hidden_size=36, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, head_dim=10, intermediate_size=42, max_position_embeddings=64,
        rms_norm_eps=1e-6, hidden_activation="gelu_pytorch_tanh", query_pre_attn_scalar=7,
        sliding_window=5, tie_word_embeddings=True, bos_token_id=None, eos_token_id=None,
        pad_token_id=None)
    return kind(**base | over)


def falcon(**over):
    base = dict(
        vocab_size=61, hidden_size=36, num_hidden_layers=2, num_attention_heads=6,
        ffn_hidden_size=52, max_position_embeddings=32, alibi=False, bias=False,
        multi_query=True, parallel_attn=True, new_decoder_architecture=False,
        rope_parameters=rope(), bos_token_id=None, eos_token_id=None)
    return transformers.FalconConfig(**base | over)


def stablelm(**over):
    base = dict(
        vocab_size=63, hidden_size=40, num_hidden_layers=2, num_attention_heads=5,
        num_key_value_heads=5, intermediate_size=44, max_position_embeddings=32,
        layer_norm_eps=1e-5, rope_parameters=rope(partial_rotary_factor=0.25),
        bos_token_id=None, eos_token_id=None)
    return transformers.StableLmConfig(**base | over)


def phi(**over):
    base = dict(
        vocab_size=65, hidden_size=36, num_hidden_layers=2, num_attention_heads=3,
        intermediate_size=40, max_position_embeddings=32, hidden_act="gelu_new",
        layer_norm_eps=1e-5, rope_parameters=rope(partial_rotary_factor=0.5),
        bos_token_id=None, eos_token_id=None)
    return transformers.PhiConfig(**base | over)


def gemma3_ropes(local=10000.0, **full):
    return {"full_attention": rope(1e6) | full, "sliding_attention": rope(local)}


# name -> (config, tokens in the prompt, dtype the weights are stored in)
CASES = {
    "gptj": (gptj(), 8, F32),
    "gptj-tied-f16": (gptj(n_head=4, n_embd=40, rotary_dim=10, n_inner=None, n_layer=3), 6, F16),
    "gpt-neo": (gpt_neo(), 11, F32),
    "gpt-neo-bf16": (gpt_neo(num_heads=3, num_layers=2, attention_types=[[["global", "local"], 1]],
                             window_size=3, intermediate_size=None), 7, BF16),
    "opt": (opt(), 9, F32),
    "opt-no-bias-untied-f16": (opt(enable_bias=False, tie_word_embeddings=False,
                                   num_attention_heads=5), 6, F16),
    "opt-post-norm-projected": (opt(do_layer_norm_before=False, word_embed_proj_dim=18,
                                    num_hidden_layers=3), 8, F32),
    "bloom": (bloom(), 10, F32),
    "bloom-3-heads-bf16": (bloom(n_head=3, n_layer=3), 6, BF16),
    "mistral-window": (llama_form(transformers.MistralConfig, sliding_window=4, head_dim=10,
                                  tie_word_embeddings=False), 12, F32),
    "mistral-no-window-f16": (llama_form(transformers.MistralConfig, sliding_window=None,
                                         num_key_value_heads=3), 7, F16),
    "qwen2": (llama_form(transformers.Qwen2Config), 9, F32),
    "qwen2-window-bf16": (llama_form(transformers.Qwen2Config, use_sliding_window=True,
                                     sliding_window=3, max_window_layers=1,
                                     tie_word_embeddings=False,
                                     rope_parameters=rope(1e6)), 9, BF16),
    "qwen3": (llama_form(transformers.Qwen3Config, head_dim=14), 8, F32),
    "qwen3-bias": (llama_form(transformers.Qwen3Config, head_dim=10, attention_bias=True,
                              num_key_value_heads=6, tie_word_embeddings=False), 6, F32),
    "gemma2": (gemma(transformers.Gemma2Config, attn_logit_softcapping=3.0,
                     final_logit_softcapping=4.0), 12, F32),
    "gemma2-no-caps-bf16": (gemma(transformers.Gemma2Config, attn_logit_softcapping=None,
                                  final_logit_softcapping=None, num_key_value_heads=1,
                                  attention_bias=True), 7, BF16),
    "gemma3": (gemma(transformers.Gemma3TextConfig, num_hidden_layers=6,
                     layer_types=["sliding_attention", "sliding_attention", "full_attention"] * 2,
                     rope_parameters=gemma3_ropes(rope_type="linear", factor=8.0)), 12, F32),
    "gemma3-one-kv-f16": (gemma(transformers.Gemma3TextConfig, num_key_value_heads=1,
                                num_attention_heads=3, num_hidden_layers=6, head_dim=12,
                                rope_parameters=gemma3_ropes()), 9, F16),
    "falcon-7b-form": (falcon(), 9, F32),
    "falcon-heads-bias": (falcon(multi_query=False, bias=True, tie_word_embeddings=False), 7, F32),
    "falcon-sequential": (falcon(parallel_attn=False, bias=True, num_attention_heads=3), 7, F32),
    "falcon-new": (falcon(new_decoder_architecture=True, num_kv_heads=3), 9, F32),
    "falcon-new-one-norm-bf16": (falcon(new_decoder_architecture=True, num_kv_heads=2,
                                        num_ln_in_parallel_attn=1), 6, BF16),
    "stablelm": (stablelm(), 8, F32),
    "stablelm-parallel-qk-norm": (stablelm(use_parallel_residual=True, qk_layernorm=True,
                                           use_qkv_bias=True, num_attention_heads=10,
                                           num_key_value_heads=2,
                                           rope_parameters=rope(partial_rotary_factor=0.5)), 8, F32),
    "stablelm-gqa-qk-norm-tied-f16": (stablelm(qk_layernorm=True, num_attention_heads=4,
                                               num_key_value_heads=2, tie_word_embeddings=True), 6, F16),
    "phi": (phi(), 8, F32),
    "phi-gqa-bf16": (phi(num_attention_heads=6, num_key_value_heads=2,
                         rope_parameters=rope(partial_rotary_factor=0.67)), 7, BF16),
    "gemma": (llama_form(transformers.GemmaConfig, head_dim=10, num_attention_heads=4,
                         num_key_value_heads=1, hidden_act="gelu_pytorch_tanh"), 8, F32),
}
