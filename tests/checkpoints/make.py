"""Makes tests/checkpoints/fixtures: a tiny random checkpoint of each family, what `transformers` computes with it in f32 on
the CPU, and what `tokenizers` makes of some texts. The numbers in fixtures/ were made with the versions that made.json names.

    pip install torch transformers gguf tokenizers safetensors
    python make.py
"""

import json
import pathlib
import platform
import shutil

import gguf
import numpy as np
import tokenizers
import torch
import transformers
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

HERE = pathlib.Path(__file__).parent
OUT = HERE / "fixtures"
VOCAB = 288
TEXTS = [
    "It is a truth universally acknowledged,",
    "In 1813, 42 of them: 3.14 and 007.",
    "naïve café — “quoted” 日本語 🙂",
    "  two spaces\n\n\tand a tab \r\n",
    "<|im_start|>user\nHi<|im_end|>",
    "",
]


def tokenizer(digits: bool) -> Tokenizer:
    """Byte-level BPE of VOCAB tokens, two of them special; digits one by one where asked."""
    tok = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level]) if digits else byte_level
    tok.decoder = decoders.ByteLevel()
    special = [AddedToken("<|im_start|>", special=True), AddedToken("<|im_end|>", special=True)]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tok.train_from_iterator([(HERE.parent.parent / "LICENSE").read_text()] * 4, trainer)
    assert tok.get_vocab_size() == VOCAB
    return tok


def randomised(model, seed: int):
    """Every parameter drawn, norms and biases too, so that none could be left out unnoticed."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * (0.3 if p.dim() > 1 else 0.5) + (1.0 if "norm" in name or "ln_" in name else 0.0))
    return model.eval()


def expected(folder: pathlib.Path, model, tok: Tokenizer, n: int = 14):
    """Logits of some ids, and ids of the texts."""
    ids = torch.tensor([[(i * i + 7 * i + 3) % VOCAB for i in range(n)]])
    with torch.no_grad():
        logits = model(ids).logits.float().contiguous()
    save_file({"ids": ids.to(torch.uint32), "logits": logits}, folder / "expected.safetensors")
    texts = [{"text": t, "ids": tok.encode(t, add_special_tokens=False).ids} for t in TEXTS]
    (folder / "texts.json").write_text(json.dumps(texts, ensure_ascii=False, indent=1) + "\n")


def folder(name: str) -> pathlib.Path:
    path = OUT / name
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


def hugging_face(name: str, model, tok: Tokenizer, dtype=torch.float32, **how):
    path = folder(name)
    model = model.to(dtype)
    model.save_pretrained(path, **how)
    tok.save(str(path / "tokenizer.json"), pretty=False)
    # Read back in f32: weights are rounded to the type they are kept in, and nothing else is.
    expected(path, type(model).from_pretrained(path, dtype=torch.float32).eval(), tok)


def gguf_file(tok: Tokenizer):
    """A llama file as llama.cpp's converter writes it: rows of q and k in rotary pairs, matrices quantised."""
    path = folder("gguf")
    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=64, rms_norm_eps=1e-6, tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": 30000.0},
    )
    model = randomised(LlamaForCausalLM(config), 4)
    weights = model.state_dict()
    writer = gguf.GGUFWriter(path / "tiny.gguf", "llama")
    writer.add_block_count(2)
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(30000.0)
    writer.add_rope_dimension_count(8)
    writer.add_vocab_size(VOCAB)
    vocab = sorted(tok.get_vocab(), key=tok.get_vocab().get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(vocab)
    normal, control = gguf.TokenType.NORMAL, gguf.TokenType.CONTROL
    writer.add_token_types([control if t.startswith("<|im_") else normal for t in vocab])
    merges = json.loads(tok.to_str())["model"]["merges"]
    writer.add_token_merges([" ".join(m) if isinstance(m, list) else m for m in merges])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_add_bos_token(False)

    def paired(w: np.ndarray, heads: int) -> np.ndarray:
        return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)

    types = gguf.GGMLQuantizationType
    kinds = {"q": types.Q8_0, "k": types.Q4_0, "v": types.Q4_1, "o": types.Q5_0, "gate": types.Q5_1, "up": types.F16, "down": types.BF16}

    def put(hf: str, name: str, kind=types.F32, heads: int = 0):
        w = weights[hf].numpy().astype(np.float32)
        stored = paired(w, heads) if heads else w
        data = gguf.quantize(stored, kind)
        writer.add_tensor(name, data, raw_dtype=kind)
        values = gguf.dequantize(data, kind).reshape(stored.shape) if kind != types.F32 else stored
        if heads:
            values = values.reshape(heads, values.shape[0] // heads // 2, 2, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)
        with torch.no_grad():
            weights[hf].copy_(torch.from_numpy(np.ascontiguousarray(values)))

    put("model.embed_tokens.weight", "token_embd.weight", types.Q8_0)
    put("model.norm.weight", "output_norm.weight")
    put("lm_head.weight", "output.weight", types.Q4_0)
    for i in range(2):
        hf, gg = f"model.layers.{i}.", f"blk.{i}."
        put(hf + "input_layernorm.weight", gg + "attn_norm.weight")
        put(hf + "post_attention_layernorm.weight", gg + "ffn_norm.weight")
        put(hf + "self_attn.q_proj.weight", gg + "attn_q.weight", kinds["q"], 4)
        put(hf + "self_attn.k_proj.weight", gg + "attn_k.weight", kinds["k"], 2)
        put(hf + "self_attn.v_proj.weight", gg + "attn_v.weight", kinds["v"])
        put(hf + "self_attn.o_proj.weight", gg + "attn_output.weight", kinds["o"])
        put(hf + "mlp.gate_proj.weight", gg + "ffn_gate.weight", kinds["gate"])
        put(hf + "mlp.up_proj.weight", gg + "ffn_up.weight", kinds["up"])
        put(hf + "mlp.down_proj.weight", gg + "ffn_down.weight", kinds["down"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    # state_dict shares its storage with the model, which now has the dequantised weights.
    expected(path, model, tok)


def main():
    plain, digits = tokenizer(False), tokenizer(True)
    llama = LlamaConfig(
        vocab_size=VOCAB, hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=10, max_position_embeddings=64, rms_norm_eps=1e-6, tie_word_embeddings=True,
        bos_token_id=0, eos_token_id=1, rope_parameters={"rope_type": "default", "rope_theta": 50000.0},
    )
    hugging_face("llama", randomised(LlamaForCausalLM(llama), 1), digits, torch.bfloat16)
    qwen2 = Qwen2Config(
        vocab_size=VOCAB, hidden_size=32, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=64, tie_word_embeddings=False, bos_token_id=0, eos_token_id=1,
    )
    hugging_face("qwen2", randomised(Qwen2ForCausalLM(qwen2), 2), plain, max_shard_size="60KB")
    gpt2 = GPT2Config(
        vocab_size=VOCAB, n_positions=24, n_embd=32, n_layer=2, n_head=4, layer_norm_epsilon=1e-4,
        bos_token_id=0, eos_token_id=1,
    )
    hugging_face("gpt2", randomised(GPT2LMHeadModel(gpt2), 3), plain)
    gguf_file(digits)
    versions = {m.__name__: m.__version__ for m in (torch, transformers, tokenizers)}
    versions["python"] = platform.python_version()
    (OUT / "made.json").write_text(json.dumps(versions, indent=1) + "\n")


main()
