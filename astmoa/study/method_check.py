"""Does a method hold what holds for all methods? Tried on a tiny backbone, with each of its dials."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from astmoa.config import MethodConfig
from astmoa.errors import AstmoaError, ConfigError
from astmoa.methods.method import find_method
from astmoa.methods.shape import BackboneShape

if TYPE_CHECKING:
    from transformers import ASTModel

_FRAMES, _CLASSES = 64, 5


@dataclass(frozen=True)
class Finding:
    what: str
    """Property that was looked at."""
    wrong: str | None
    """What does not hold, and with which dials; None where all is well."""


def variants(name: str) -> list[MethodConfig]:
    """The method in a small size, and with each of its dials turned by itself. Raises ConfigError where that size is
    impossible."""
    method = find_method(name)
    # One expert has nothing to choose between, and a rotation needs two inputs.
    sizes: dict[str, Any] = {"num_experts": 4, "bottleneck_dim": 2}
    small = {key: value for key, value in sizes.items() if key in method.dials}
    found = [MethodConfig(name, **small)]
    turns: dict[str, tuple[Any, ...]] = {
        "num_experts": (2,),
        "slots_per_expert": (2,),
        "bottleneck_dim": (1, 4),
        "placement": ("ffn", "both"),
        "composition": ("sequential",),
        "layers": ((1,),),
        "expert": ("convpass", "conformer"),
        "num_virtual_tokens": (3,),
        "pooling": ("mean", "cls"),
    }
    tried: list[dict[str, Any]] = [{key: value} for key in (*method.dials, "pooling") for value in turns.get(key, ())]
    tried += [{"own": {key: choice}} for key, dial in method.own.items() for choice in dial.choices]
    for fields in tried:
        with contextlib.suppress(ConfigError):  # of two dials that must fit each other, one alone may not
            found.append(MethodConfig(name, **small | fields))
    return list(dict.fromkeys(found))


def check_method(name: str) -> Iterator[Finding]:
    """Each thing that holds for all methods, looked at with every one of `variants`. Raises ConfigError where there is
    no such method."""
    methods = variants(name)
    model = tiny_model()
    for what, look in _LOOKS.items():
        wrong = None
        for method in methods:
            try:
                wrong = look(model, method)
            except AstmoaError as error:
                wrong = str(error)
            except Exception as error:  # somebody's code
                wrong = f"{type(error).__name__}: {' '.join(str(error).split())[:300] or 'no more is said'}"
            if wrong:
                yield Finding(what, f"{wrong} (with {_told(method)})")
                break
        else:
            yield Finding(what, None)
        if wrong and what == "it can be inserted":
            return


def tiny_model() -> ASTModel:
    """A frozen backbone of 3 layers, 16 wide, whose every value differs from 0."""
    import torch
    from transformers import ASTConfig, ASTModel

    config = ASTConfig(
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        max_length=_FRAMES,
        frequency_stride=16,
        time_stride=10,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ASTModel(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval().requires_grad_(False)


def _inserted(model: ASTModel, method: MethodConfig) -> str | None:
    logits = None
    with _built(model, method) as classifier:
        logits = classifier(_clips(2))
    if tuple(logits.shape) != (2, _CLASSES):
        return f"logits have the shape {tuple(logits.shape)}, not {(2, _CLASSES)}"
    return None if logits.isfinite().all() else "logits are not finite"


def _starts_as_frozen(model: ASTModel, method: MethodConfig) -> str | None:
    import torch

    frozen = model(_clips(2)).last_hidden_state
    with _built(model, method) as classifier:
        adapted = classifier.model(_clips(2)).last_hidden_state
    if method.kind.num_virtual_tokens is not None or torch.equal(adapted, frozen):  # drawn tokens are seen by all
        return None
    return "the adapted model's output differs from the frozen one's: let what comes last begin at zero"


def _counted(model: ASTModel, method: MethodConfig) -> str | None:
    from astmoa.methods.params import count_params

    config, patch_size = model.config, model.config.patch_size
    assert isinstance(patch_size, int)  # an AST's patches are square
    tokens = model.embeddings.position_embeddings.shape[1]
    shape = BackboneShape(config.hidden_size, config.num_hidden_layers, config.intermediate_size, patch_size, tokens)
    counted = count_params(method, shape, _CLASSES)
    with _built(model, method) as classifier:
        built = classifier.param_count()
    return None if counted == built else f"counted {_parts(counted)}, built {_parts(built)}"


def _everything_moves(model: ASTModel, method: MethodConfig) -> str | None:
    import torch

    before = {name: value.clone() for name, value in model.state_dict().items()}
    with _built(model, method) as classifier:
        start = {name: p.detach().clone() for name, p in classifier.trainable.items()}
        _train(classifier)
        still = [name for name, p in classifier.trainable.items() if torch.equal(p, start[name])]
        odd = [name for name, p in classifier.trainable.items() if not p.isfinite().all()]
    # Two have no say: batch normalisation takes the bias before it out, and a softmax one that all keys share.
    idle = ("k_proj.bias", "experts.conv_bias") if method.expert_kind == "conformer" else ("k_proj.bias",)
    still = [name for name in still if not name.endswith(idle)]
    if still:
        return f"{', '.join(still[:3])} did not move in two steps: is it used, and does a gradient reach it?"
    if odd:
        return f"{', '.join(odd[:3])} is not finite after two steps"
    changed = [name for name, value in model.state_dict().items() if not torch.equal(value, before.get(name, value))]
    if changed or before.keys() != model.state_dict().keys():
        return f"the frozen backbone is another one afterwards ({', '.join(changed[:3]) or 'other names'})"
    return None


def _reloads(model: ASTModel, method: MethodConfig) -> str | None:
    import torch

    with _built(model, method) as classifier:
        _train(classifier)
        expected = classifier.eval()(_clips(2))
        saved = {name: tensor.detach().clone() for name, tensor in classifier.tensors().items()}
    with _built(model, method, seed=99) as again:
        again.load(saved)
        same = torch.equal(again(_clips(2)), expected)
    return None if same else "other logits after reloading: is a buffer registered, is anything drawn in forward?"


def _repeats(model: ASTModel, method: MethodConfig) -> str | None:
    import torch

    torch.manual_seed(1)
    with _built(model, method) as first:
        one = {name: tensor.detach().clone() for name, tensor in first.tensors().items()}
    torch.manual_seed(2)
    with _built(model, method) as second:
        differ = [name for name, tensor in second.tensors().items() if not torch.equal(tensor, one[name])]
    return f"{', '.join(differ[:3])} differs with the same seed: draw from site.generator" if differ else None


_LOOKS: dict[str, Callable[[ASTModel, MethodConfig], str | None]] = {
    "it can be inserted": _inserted,
    "the adapted model starts as the frozen one": _starts_as_frozen,
    "counted is what is built": _counted,
    "two steps move everything that is trained, and nothing else": _everything_moves,
    "what is saved gives the same logits again": _reloads,
    "the same seed gives the same start": _repeats,
}


@contextlib.contextmanager
def _built(model: ASTModel, method: MethodConfig, seed: int = 0) -> Iterator[Any]:
    from astmoa.methods.classifier import AdaptedClassifier

    classifier = AdaptedClassifier(model, method, _CLASSES, seed=seed)
    try:
        yield classifier
    finally:
        classifier.remove()


def _train(classifier: Any) -> None:
    """Two steps."""
    import torch

    classifier.train()
    optimizer = torch.optim.AdamW(classifier.trainable.values(), lr=1e-2, weight_decay=0)
    for _ in range(2):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(classifier(_clips(4)), torch.arange(4)).backward()
        optimizer.step()


def _clips(number: int) -> Any:
    import torch

    return torch.randn(number, _FRAMES, 128, generator=torch.Generator().manual_seed(5))


def _parts(count: Any) -> str:
    return " + ".join(f"{value:,} {name}" for name, value in vars(count).items())


def _told(method: MethodConfig) -> str:
    """The dials that are not at their defaults."""
    usual = vars(MethodConfig(method.name))
    told = {key: value for key, value in vars(method).items() if value != usual[key]}
    return ", ".join(f"{key}={value}" for key, value in told.items()) or "its dials at their defaults"
