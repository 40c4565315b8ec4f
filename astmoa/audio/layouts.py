"""All layouts of the package, in the order in which help texts have them."""

from astmoa.audio import layout_builtin, layout_music, layout_own, layout_sound, layout_speech  # noqa: F401
