"""What is trained: the methods, one class each in the order in which help texts describe them, the modules that they
insert, and the graft that puts those into a frozen backbone and takes them out again."""

from astmoa.methods import linear, tuning, prompts, library, adapters, mixtures, aat  # noqa: F401, I001  (registers them)
