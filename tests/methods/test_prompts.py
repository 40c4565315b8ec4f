"""Virtual tokens against the layer and the attention written out."""

import math

import torch

from astmoa.config import MethodConfig
from astmoa.methods.classifier import AdaptedClassifier


def frames(batch=2):
    return torch.randn(batch, 64, 128, generator=torch.Generator().manual_seed(5))


def test_deep_prompts_stand_behind_the_two_special_tokens_and_are_replaced_layer_by_layer(model):
    layers = list(model.layers)
    classifier = AdaptedClassifier(model, MethodConfig("prompt_deep", num_virtual_tokens=3), 5, seed=0)
    x = model.embeddings(frames())
    for index, layer in enumerate(layers):
        prompts = classifier.trainable[f"layers.{index}.prompts"].expand(2, -1, -1)
        rest = x[:, 2:] if index == 0 else x[:, 5:]
        x = layer(torch.cat([x[:, :2], prompts, rest], dim=1))
    torch.testing.assert_close(model(frames()).last_hidden_state, model.layernorm(x))


def test_shallow_prompts_go_through_all_layers(model):
    layers = list(model.layers)
    classifier = AdaptedClassifier(model, MethodConfig("prompt_shallow", num_virtual_tokens=3), 5, seed=0)
    x = model.embeddings(frames())
    assert next(iter(classifier.trainable)) == "layers.0.prompts"
    x = torch.cat([x[:, :2], classifier.trainable["layers.0.prompts"].expand(2, -1, -1), x[:, 2:]], dim=1)
    for layer in layers:
        x = layer(x)
    out = model(frames()).last_hidden_state
    assert out.shape[1] == model.embeddings.position_embeddings.shape[1] + 3
    torch.testing.assert_close(out, model.layernorm(x))


def test_the_published_prompts_replace_the_distillation_token(model):
    layers = list(model.layers)
    method = MethodConfig("prompt_deep", num_virtual_tokens=3)
    classifier = AdaptedClassifier(model, method, 5, seed=0, faithful=("replaced_distillation",))
    x = model.embeddings(frames())
    for index, layer in enumerate(layers):
        prompts = classifier.trainable[f"layers.{index}.prompts"].expand(2, -1, -1)
        rest = x[:, 2:] if index == 0 else x[:, 4:]  # the token is gone from the first layer on
        x = layer(torch.cat([x[:, :1], prompts, rest], dim=1))
    torch.testing.assert_close(model(frames()).last_hidden_state, model.layernorm(x))


def test_a_prefix_is_more_keys_and_values(model):
    """softmax(q [K_p; K]^T / sqrt(d_h)) [V_p; V], head by head."""
    method = MethodConfig("prefix", num_virtual_tokens=3, layers=(1,))
    attention = model.layers[1].attention
    classifier = AdaptedClassifier(model, method, 5, seed=0)
    prefix_keys, prefix_values = (classifier.trainable[f"layers.1.attention.prefix_{n}"] for n in ("keys", "values"))
    x = torch.randn(2, 7, 16)
    outputs = []
    for tokens in x:
        q, k, v = attention.q_proj(tokens), attention.k_proj(tokens), attention.v_proj(tokens)
        k, v = torch.cat([prefix_keys, k]), torch.cat([prefix_values, v])
        heads = []
        for head in range(2):
            part = slice(8 * head, 8 * head + 8)
            weights = torch.softmax(q[:, part] @ k[:, part].T / math.sqrt(8), dim=-1)
            heads.append(weights @ v[:, part])
        outputs.append(attention.o_proj(torch.cat(heads, dim=-1)))
    torch.testing.assert_close(model.layers[1].attention(x)[0], torch.stack(outputs))
