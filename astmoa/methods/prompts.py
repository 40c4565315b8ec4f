"""Virtual tokens: prompts in the sequence (VPT, Jia et al. 2022) and prefixes in the attention (Li and Liang 2021)."""

from __future__ import annotations

from astmoa.methods.method import Dials, Method, ParamCount, register
from astmoa.methods.shape import NUM_SPECIAL_TOKENS, BackboneShape


class Prompts(Method):
    """Virtual tokens among those of the clip."""

    paper = "Jia et al. 2022 (arXiv 2203.12119)"
    peak_lr = 1e-2
    num_virtual_tokens = 25

    def prompted(self, dials: Dials, num_layers: int) -> tuple[int, ...]:
        """Layers before which new prompts are put in."""
        return self.layers(dials, num_layers)

    def count(self, dials: Dials, shape: BackboneShape) -> ParamCount:
        layers = self.prompted(dials, shape.num_layers)
        return ParamCount(adapter=len(layers) * dials.num_virtual_tokens * shape.hidden_size)

    def insert(self, graft, dials, faithful, generator, seed) -> None:
        from astmoa.methods.virtual_tokens import PromptedLayer, draw

        num_tokens, layers = dials.num_virtual_tokens, graft.model.layers
        for number, index in enumerate(self.prompted(dials, len(layers))):
            keep, replace = NUM_SPECIAL_TOKENS, num_tokens if number else 0
            if (
                "replaced_distillation" in faithful
            ):  # the published code: the first prompts stand where that token stood
                keep, replace = 1, num_tokens if number else 1
            prompts = draw(graft, f"layers.{index}.prompts", num_tokens, generator)
            graft.replace(layers, str(index), PromptedLayer(layers[index], prompts, keep, replace))


@register
class PromptShallow(Prompts):
    """virtual tokens before the first layer, which then go through all of them"""

    name = "prompt_shallow"
    dials = ("num_virtual_tokens",)

    def prompted(self, dials: Dials, num_layers: int) -> tuple[int, ...]:
        return self.layers(dials, num_layers)[:1]


@register
class PromptDeep(Prompts):
    """new virtual tokens before every layer, in place of the last ones"""

    name = "prompt_deep"
    dials = ("num_virtual_tokens", "layers")


@register
class Prefix(Method):
    """virtual keys and as many values in every attention"""

    name = "prefix"
    paper = "Li and Liang 2021 (arXiv 2101.00190)"
    dials = ("num_virtual_tokens", "layers")
    peak_lr = 1e-2
    num_virtual_tokens = 12

    def count(self, dials: Dials, shape: BackboneShape) -> ParamCount:
        layers = self.layers(dials, shape.num_layers)
        return ParamCount(adapter=2 * len(layers) * dials.num_virtual_tokens * shape.hidden_size)

    def insert(self, graft, dials, faithful, generator, seed) -> None:
        from astmoa.methods.virtual_tokens import PrefixedAttention, draw

        layers = graft.model.layers
        for index in self.layers(dials, len(layers)):
            keys, values = (
                draw(graft, f"layers.{index}.attention.{name}", dials.num_virtual_tokens, generator)
                for name in ("prefix_keys", "prefix_values")
            )
            graft.replace(layers[index], "attention", PrefixedAttention(layers[index].attention, keys, values))
