"""Every method, and classifiers that start as the frozen model."""

from astmoa.config import MethodConfig

METHODS = [
    MethodConfig("linear"),
    MethodConfig("full"),
    MethodConfig("partial"),
    MethodConfig("partial", layers=(0, 2)),
    MethodConfig("bitfit"),
    MethodConfig("prompt_shallow", num_virtual_tokens=3),
    MethodConfig("prompt_deep", num_virtual_tokens=3),
    MethodConfig("prompt_deep", num_virtual_tokens=3, layers=(1, 2), pooling="cls"),
    MethodConfig("prefix", num_virtual_tokens=3),
    MethodConfig("lora", bottleneck_dim=2),
    MethodConfig("lora", bottleneck_dim=2, placement="both", layers=(1,)),
    MethodConfig("dora", bottleneck_dim=2),
    MethodConfig("vera", bottleneck_dim=3, placement="ffn"),
    MethodConfig("ia3"),
    MethodConfig("oft", bottleneck_dim=4),
    MethodConfig("ln_tuning"),
    MethodConfig("bottleneck", bottleneck_dim=4),
    MethodConfig("bottleneck", bottleneck_dim=4, placement="ffn", composition="sequential"),
    MethodConfig("convpass", bottleneck_dim=4, placement="both"),
    MethodConfig("convpass", bottleneck_dim=4, convolution="2d"),
    MethodConfig("conformer", bottleneck_dim=4),
    MethodConfig("soft_moa", 4, 2, 3),
    MethodConfig("soft_moa", 4, 2, 3, placement="both", layers=(1, 2)),
    MethodConfig("soft_moa", 2, 2, 3, expert="convpass"),
    MethodConfig("soft_moa", 2, 2, 3, expert="conformer"),
    MethodConfig("dense_moa", 4, 1, 3, placement="ffn"),
    MethodConfig("dense_moa", 4, 1, 3, placement="both", composition="sequential"),
    MethodConfig("dense_moa", 2, 1, 3, expert="convpass", convolution="2d"),
    MethodConfig("dense_moa", 2, 1, 3, expert="conformer"),
    MethodConfig("aat_m", bottleneck_dim=4),
    MethodConfig("aat_s", bottleneck_dim=4, layers=(0,)),
    MethodConfig("aat_ms", bottleneck_dim=4),
]


def identify(method):
    defaults = vars(MethodConfig())
    changed = {k: v for k, v in vars(method).items() if k != "name" and v != defaults[k]}
    return "-".join([method.name, *(f"{k}={v}" for k, v in changed.items())])
