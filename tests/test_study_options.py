import math

import pytest

from astmoa.errors import RunError
from astmoa.study_options import StudyOptions


@pytest.mark.parametrize(
    "options",
    [
        {"seeds": 10**6},
        {"epochs": 10**30},
        {"lr": math.nan},
        {"seconds": math.inf},
        {"trials_at_once": 10**15},
        {"num_labels": -(10**15)},
    ],
)
def test_what_no_machine_counts_to_is_one_line(options):
    with pytest.raises(RunError, match=rf"--{next(iter(options)).replace('_', '-')} \S+ is not possible: give"):
        StudyOptions(**options)
