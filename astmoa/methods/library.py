"""LoRA, DoRA, VeRA, IA3, OFT and LayerNorm tuning, through the peft library."""

from __future__ import annotations

import abc
import warnings
from typing import Any, ClassVar

from astmoa.errors import ConfigError, require
from astmoa.methods.method import Dials, Method, ParamCount, register
from astmoa.methods.shape import BackboneShape


class Library(Method):
    """A method of peft's: what it works on inside one layer, and its configuration there."""

    placed: ClassVar[dict[str, tuple[str, ...]]] = {
        "attention": ("attention.q_proj", "attention.v_proj"),
        "ffn": ("mlp.fc1", "mlp.fc2"),
    }
    """LoRA's usual query and value, or the two linear layers of the MLP."""

    def targets(self, dials: Dials) -> tuple[str, ...]:
        """Modules inside one layer."""
        return self.placed.get(dials.placement, self.placed["attention"] + self.placed["ffn"])

    @abc.abstractmethod
    def target_params(self, target: str, inputs: int, outputs: int, dials: Dials) -> int:
        """Of one target, a linear layer of this size (or a LayerNorm, as wide as its input)."""

    @abc.abstractmethod
    def peft_config(self, layers: tuple[int, ...], dials: Dials, seed: int) -> Any:
        """Peft's configuration for the targets in these layers."""

    def where(self, layers: tuple[int, ...], dials: Dials) -> str:
        """Its targets in these layers, as peft matches names."""
        return pattern(layers, self.targets(dials))

    def check_width(self, width: int, dials: Dials) -> None:
        """Raises ConfigError for an input that the method cannot take."""

    def count(self, dials: Dials, shape: BackboneShape) -> ParamCount:
        each = 0
        for target in self.targets(dials):
            inputs, outputs = _sizes(target, shape.hidden_size, shape.intermediate_size)
            self.check_width(inputs, dials)
            each += self.target_params(target, inputs, outputs, dials)
        return ParamCount(adapter=len(self.layers(dials, shape.num_layers)) * each)

    def insert(self, graft, dials, faithful, generator, seed) -> None:
        """Let peft put its layers into the model, and note what it replaced.

        peft draws from the global generator: that is put back afterwards.
        """
        import torch
        from peft import get_peft_model  # seconds to import, and most methods do without

        model = graft.model
        for target in self.targets(dials):
            self.check_width(_sizes(target, model.config.hidden_size, model.config.intermediate_size)[0], dials)
        layers = self.layers(dials, model.config.num_hidden_layers)
        before = {module: dict(module._modules) for module in model.modules()}
        try:
            with torch.random.fork_rng(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # peft about LayerNorms and deprecations of transformers
                torch.manual_seed(seed)
                get_peft_model(model, self.peft_config(layers, dials, seed))
        finally:
            for owner, children in before.items():
                for name, original in children.items():
                    if owner._modules[name] is not original:
                        graft.note(owner, name, original)
            vars(model).pop("peft_config", None)
        model.eval()
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                graft.train_parameter(name, parameter)
        graft.buffers |= {name: buffer for name, buffer in model.named_buffers() if buffer.is_floating_point()}


def pattern(layers: tuple[int, ...], targets: tuple[str, ...]) -> str:
    """These modules of these layers, as peft matches names."""
    names = "|".join(name.replace(".", "[.]") for name in targets)
    return rf"layers\.({'|'.join(map(str, layers))})\.({names})"


def _sizes(target: str, d: int, i: int) -> tuple[int, int]:
    """Inputs and outputs of a target."""
    return {"mlp.fc1": (d, i), "mlp.fc2": (i, d)}.get(target, (d, d))


@register
class Lora(Library):
    """a product of two low-rank matrices beside query and value, or beside the MLP's linear layers"""

    name = "lora"
    paper = "Hu et al. 2022 (arXiv 2106.09685)"
    example: ClassVar = {"bottleneck_dim": 6}
    dials = ("bottleneck_dim", "placement", "layers")
    use_dora: ClassVar[bool] = False

    def target_params(self, target: str, inputs: int, outputs: int, dials: Dials) -> int:
        return dials.bottleneck_dim * (inputs + outputs)

    def peft_config(self, layers: tuple[int, ...], dials: Dials, seed: int) -> Any:
        from peft import LoraConfig

        rank = dials.bottleneck_dim
        return LoraConfig(r=rank, lora_alpha=rank, use_dora=self.use_dora, target_modules=self.where(layers, dials))


@register
class Dora(Lora):
    """LoRA for the direction, and a magnitude per output"""

    name = "dora"
    paper = "Liu et al. 2024 (arXiv 2402.09353)"
    use_dora = True

    def target_params(self, target: str, inputs: int, outputs: int, dials: Dials) -> int:
        return super().target_params(target, inputs, outputs, dials) + outputs


@register
class Vera(Library):
    """two vectors that scale random projections, drawn once and frozen"""

    name = "vera"
    paper = "Kopiczko et al. 2024 (arXiv 2310.11454)"
    example: ClassVar = {"bottleneck_dim": 256}
    dials = ("bottleneck_dim", "placement", "layers")

    def target_params(self, target: str, inputs: int, outputs: int, dials: Dials) -> int:
        return dials.bottleneck_dim + outputs

    def peft_config(self, layers: tuple[int, ...], dials: Dials, seed: int) -> Any:
        from peft import VeraConfig

        return VeraConfig(
            r=dials.bottleneck_dim, projection_prng_key=seed % 2**31, target_modules=self.where(layers, dials)
        )


@register
class Ia3(Library):
    """vectors that scale keys, values, and the input of the MLP's second linear layer"""

    name = "ia3"
    paper = "Liu et al. 2022 (arXiv 2205.05638)"
    dials = ("layers",)

    def targets(self, dials: Dials) -> tuple[str, ...]:
        return ("attention.k_proj", "attention.v_proj", "mlp.fc2")

    def target_params(self, target: str, inputs: int, outputs: int, dials: Dials) -> int:
        return inputs if target == "mlp.fc2" else outputs

    def peft_config(self, layers: tuple[int, ...], dials: Dials, seed: int) -> Any:
        from peft import IA3Config

        return IA3Config(target_modules=self.where(layers, dials), feedforward_modules=pattern(layers, ("mlp.fc2",)))


@register
class Oft(Library):
    """a rotation of every block of inputs, `bottleneck_dim` wide"""

    name = "oft"
    paper = "Qiu et al. 2023 (arXiv 2306.07280)"
    example: ClassVar = {"bottleneck_dim": 8}
    dials = ("bottleneck_dim", "placement", "layers")
    solves_bottleneck = False  # a wider block must divide the width

    def check(self, dials: Dials) -> None:
        turns = "a block of one input cannot turn: give a block size of at least 2"
        require(dials.bottleneck_dim > 1, "method.bottleneck_dim", dials.bottleneck_dim, turns)

    def check_width(self, width: int, dials: Dials) -> None:
        if width % dials.bottleneck_dim:
            raise ConfigError(
                f"method.bottleneck_dim={dials.bottleneck_dim} is not possible: oft's blocks must divide the width "
                f"{width}"
            )

    def target_params(self, target: str, inputs: int, outputs: int, dials: Dials) -> int:
        r = dials.bottleneck_dim
        return inputs // r * (r * (r - 1) // 2)

    def peft_config(self, layers: tuple[int, ...], dials: Dials, seed: int) -> Any:
        from peft import OFTConfig

        return OFTConfig(r=0, oft_block_size=dials.bottleneck_dim, target_modules=self.where(layers, dials))


@register
class LnTuning(Library):
    """every layer's two LayerNorms"""

    name = "ln_tuning"
    paper = "Zhao et al. 2024 (arXiv 2312.11420)"
    dials = ("layers",)

    def targets(self, dials: Dials) -> tuple[str, ...]:
        return ("layernorm_before", "layernorm_after")

    def target_params(self, target: str, inputs: int, outputs: int, dials: Dials) -> int:
        return 2 * inputs

    def peft_config(self, layers: tuple[int, ...], dials: Dials, seed: int) -> Any:
        from peft import LNTuningConfig

        return LNTuningConfig(target_modules=self.where(layers, dials))
