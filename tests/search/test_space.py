import itertools
import json
import time

import pytest

from astmoa.config import MethodConfig
from astmoa.config.difference import branches_difference
from astmoa.errors import ConfigError
from astmoa.methods.params import count_params
from astmoa.methods.shape import BackboneShape
from astmoa.search.space import Space

SHAPE = BackboneShape(64, 4, 128)
PLACES, LAYERS, RATES = ["attention", "ffn", "both"], ["all", "last_half", "every_second"], [2e-3, 8e-3]
BRANCHES = [
    {"name": "linear", "lr": RATES},
    {"name": "bottleneck", "bottleneck_dim": [1, 4], "placement": PLACES, "layers": LAYERS, "lr": RATES},
    {"name": "dense_moa", "num_experts": [1, 2], "bottleneck_dim": [1, 4], "placement": PLACES},
    {"name": "soft_moa", "num_experts": [2, 4], "slots_per_expert": [1, 4], "bottleneck_dim": [1], "lr": RATES},
]
SPACE = Space(BRANCHES)


def test_candidates_are_all_combinations_that_are_possible_in_a_fixed_order():
    found = SPACE.candidates(SHAPE)
    expected = []
    for branch in BRANCHES:
        dials = {key: choices for key, choices in branch.items() if key != "name"}
        for values in itertools.product(*dials.values()):
            candidate = {"name": branch["name"], **dict(zip(dials, values, strict=True))}
            odd = candidate["name"] == "dense_moa" and candidate["num_experts"] == 1
            if not (odd and candidate["placement"] == "both"):
                expected.append(candidate)
    assert sorted(map(str, found)) == sorted(map(str, expected))
    assert found == SPACE.candidates(SHAPE)
    assert len(expected) == SPACE.num_combinations - 2
    assert json.loads(json.dumps(found)) == found, "plain dicts that JSON keeps"


def test_what_means_the_same_counts_once():
    deep = Space([{"name": "bottleneck", "layers": ["last_half", "every_second"], "bottleneck_dim": [2]}])
    assert len(deep.candidates(BackboneShape(64, 4))) == 2
    assert deep.candidates(BackboneShape(64, 2)) == [{"name": "bottleneck", "bottleneck_dim": 2, "layers": "last_half"}]
    prompts = Space([{"name": "prefix", "num_virtual_tokens": [6, 12]}])
    assert prompts.meaning({"name": "prefix"}, SHAPE) == prompts.meaning(
        {"name": "prefix", "num_virtual_tokens": 12}, SHAPE
    ), "the default said aloud"


@pytest.mark.parametrize("budget", [0, 700, 3_000])
def test_the_budget_is_the_papers_count(budget):
    def affordable(candidate):
        return count_params(SPACE.method(candidate, SHAPE), SHAPE).paper <= budget

    everything = SPACE.candidates(SHAPE)
    kept = SPACE.candidates(SHAPE, budget)
    assert kept == [candidate for candidate in everything if affordable(candidate)]
    assert 0 < len(kept) < len(everything)


def test_a_budget_below_the_smallest_model_names_it():
    with pytest.raises(ConfigError, match=r"below the smallest model .* bottleneck r1 attention with 1,284 parameters"):
        Space([{"name": "bottleneck", "bottleneck_dim": [1, 4], "placement": ["attention"]}]).candidates(SHAPE, 1_283)


def test_points_have_their_method_their_rate_and_a_name_of_their_own():
    candidate = {"name": "soft_moa", "num_experts": 8, "slots_per_expert": 4, "bottleneck_dim": 16}
    candidate |= {"placement": "both", "layers": "last_half", "lr": 8e-3}
    space = Space([{key: [value] if key != "name" else value for key, value in candidate.items()}])
    assert space.candidates(SHAPE) == [candidate]
    point = space.point(candidate, SHAPE)
    assert point.label == "soft 8/4 r16 both last half lr 0.008"
    assert point.method == MethodConfig("soft_moa", 8, 4, 16, "both", layers=(2, 3))
    assert point.lr == 8e-3
    points = [SPACE.point(candidate, SHAPE) for candidate in SPACE.candidates(SHAPE)]
    assert len({point.label for point in points}) == len(points)
    assert all(
        point.method.layers is None for point in points if "half" not in point.label and "every" not in point.label
    )
    assert {point.label: point.lr for point in points}["dense 2 r4 ffn"] is None


def test_all_layers_of_a_method_whose_default_is_a_half():
    space = Space([{"name": "partial", "layers": ["all", "last_half"]}])
    assert [space.method(c, SHAPE).layers for c in space.candidates(SHAPE)] == [(0, 1, 2, 3), (2, 3)]


def test_a_space_survives_json_and_the_order_of_its_keys_is_nothing():
    again = Space.from_json(json.loads(json.dumps(SPACE.to_json())))
    assert again == SPACE
    turned = Space([dict(reversed(list(branch.items()))) for branch in BRANCHES])
    assert turned == SPACE
    assert turned.candidates(SHAPE) == SPACE.candidates(SHAPE)
    assert [list(c) for c in turned.candidates(SHAPE)] == [list(c) for c in SPACE.candidates(SHAPE)]


def test_the_difference_of_two_spaces_in_one_line():
    assert branches_difference(SPACE.to_json(), Space(BRANCHES).to_json()) == ""
    other = Space(
        [
            {"name": "soft_moa", "num_experts": [2, 4, 8], "slots_per_expert": [1, 4], "lr": RATES},
            {"name": "aat_m", "bottleneck_dim": [8]},
            *BRANCHES[:2],
        ]
    )
    assert branches_difference(SPACE.to_json(), other.to_json()) == (
        "dense_moa is gone; aat_m is new; soft_moa.num_experts was [2, 4], is [2, 4, 8]; "
        "soft_moa.bottleneck_dim was [1], is left out"
    )
    turned = Space(BRANCHES[::-1]).to_json()
    assert branches_difference(SPACE.to_json(), turned).startswith("the methods' order was linear, bottleneck")


@pytest.mark.parametrize(
    ("branches", "words"),
    [
        ([], "empty: it has no branches"),
        ([{"name": "soft_moa", "num_experts": []}], "no choices for soft_moa.num_experts"),
        ([{"name": "linear", "num_experts": [2]}], "linear has no num_experts; its dials are pooling, lr"),
        ([{"name": "aat_m", "placement": ["ffn"]}], "aat_m has no placement"),
        ([{"name": "lora", "bottleneck_dim": [2, 4, 2]}], "lora.bottleneck_dim has 2 twice"),
        ([{"name": "lora", "bottleneck_dim": [4, 2]}], r"lora.bottleneck_dim=\[4, 2\] is out of order"),
        ([{"name": "lora", "bottleneck_dim": 4}], "is no list"),
        ([{"name": "lora", "placement": "both"}], "is no list"),
        ([{"name": "lora", "lr": [0.0]}], "numbers above 0"),
        ([{"name": "lora", "lr": [float("nan")]}], "numbers above 0"),
        ([{"name": "lora", "layers": ["first"]}], "one of all, first_half"),
        ([{"name": "lora", "layers": [(0, 1)]}], "one of all, first_half"),
        ([{"name": "adapter"}], "name is 'adapter'; give one of linear"),
        ([{"bottleneck_dim": [2]}], "name is None"),
        ([{"name": "linear"}, {"name": "linear"}], "two branches of linear"),
    ],
)
def test_a_space_that_cannot_be_meant_so(branches, words):
    with pytest.raises(ConfigError, match=words) as error:
        Space(branches)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("branch", "words"),
    [
        ({"name": "dense_moa", "num_experts": [1, 2], "placement": ["both"]}, "no dense_moa with num_experts=1"),
        ({"name": "lora", "placement": ["attention", "sideways"]}, "no lora with placement='sideways'"),
        ({"name": "lora", "bottleneck_dim": [1, 2.5]}, "no lora with bottleneck_dim=2.5"),
    ],
)
def test_a_choice_that_nothing_can_be_made_of_is_an_error_and_not_left_out(branch, words):
    with pytest.raises(ConfigError, match=words):
        Space([branch]).candidates(SHAPE)


@pytest.mark.slow
def test_ten_thousand_candidates_are_listed_without_waiting():
    many = list(range(2, 42, 2))
    branch = {"name": "soft_moa", "num_experts": many, "slots_per_expert": many, "bottleneck_dim": many, "lr": RATES}
    start = time.process_time()
    assert len(Space([branch]).candidates(SHAPE)) == 16_000
    assert time.process_time() - start < 10, "a second, with room for a slow machine"
