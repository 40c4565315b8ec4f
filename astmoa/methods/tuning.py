"""Training the backbone's own parameters, as copies: all of them, the last layers', or every bias."""

from __future__ import annotations

from astmoa.methods.method import Dials, Method, ParamCount, register
from astmoa.methods.shape import BackboneShape


@register
class Full(Method):
    """everything, the backbone too"""

    name = "full"
    paper = "arXiv 2402.00828, baseline"
    peak_lr = 5e-5

    def count(self, dials: Dials, shape: BackboneShape) -> ParamCount:
        return ParamCount(adapter=shape.num_params - (2 * shape.hidden_size if dials.pooling == "mean" else 0))

    def insert(self, graft, dials, faithful, generator, seed) -> None:
        graft.train_copy("embeddings", graft.model, "embeddings", "adapter")
        _train_layers(graft, range(graft.model.config.num_hidden_layers))
        if dials.pooling == "cls":  # the head has a norm of its own, so that the final one is the backbone's
            graft.train_copy("layernorm", graft.model, "layernorm", "adapter")


@register
class Partial(Method):
    """the last half of the layers, or `layers`"""

    name = "partial"
    paper = "arXiv 2402.00828, baseline"
    dials = ("layers",)
    peak_lr = 5e-5

    def default_layers(self, num_layers: int) -> tuple[int, ...]:
        return tuple(range(num_layers // 2, num_layers))

    def count(self, dials: Dials, shape: BackboneShape) -> ParamCount:
        return ParamCount(adapter=len(self.layers(dials, shape.num_layers)) * shape.layer_params)

    def insert(self, graft, dials, faithful, generator, seed) -> None:
        _train_layers(graft, self.layers(dials, graft.model.config.num_hidden_layers))


@register
class BitFit(Method):
    """every bias: of linear layers and LayerNorms, the final one's too, not the patch convolution's"""

    name = "bitfit"
    paper = "Ben Zaken et al. 2022 (arXiv 2106.10199)"
    trains_final_norm = True

    def count(self, dials: Dials, shape: BackboneShape) -> ParamCount:
        return ParamCount(adapter=shape.num_layers * shape.layer_biases + shape.hidden_size)

    def insert(self, graft, dials, faithful, generator, seed) -> None:
        from torch import nn

        for name, module in list(graft.model.named_modules()):
            if isinstance(module, nn.Linear | nn.LayerNorm) and module.bias is not None:
                graft.train_parameter_copy(f"{name}.bias", module, "bias")


def _train_layers(graft, indices) -> None:
    for index in indices:
        graft.train_copy(f"layers.{index}", graft.model.layers, str(index), "adapter")
