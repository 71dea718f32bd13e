from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bench.report import canvas


@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(5, 20)), min_size=1, max_size=6),
)
def test_labels_are_moved_apart_and_stay_inside(wanted: list[tuple[float, float]]) -> None:
    wanted.sort()
    sizes = [size for _, size in wanted]
    placed = canvas.spread([y for y, _ in wanted], sizes, -60, 160)
    for (low, size), (high, next_size) in pairwise(zip(placed, sizes, strict=True)):
        assert high - low >= (size + next_size) / 2 - 1e-3
    assert placed[0] - sizes[0] / 2 >= -60 - 1e-6
    assert placed[-1] + sizes[-1] / 2 <= 160 + 1e-6


def test_labels_that_don_t_touch_stay_where_they_are() -> None:
    assert canvas.spread([10, 50, 90], [10, 10, 10], 0, 100) == [10, 50, 90]


def _picture(title: str) -> canvas.Pictures:
    figure = canvas.sheet(canvas.Words(title, "subtitle", "note"), 2.0)
    axes = figure.subplots()
    axes.plot([1, 2], [1, 2], color="#D55E00")
    figure.label_ends(axes, [canvas.Label(2, 2, "one", "#D55E00"), canvas.Label(2, 2, "other", "#0072B2")])
    return canvas.render(figure, "name")


def test_the_same_data_gives_the_same_file() -> None:
    assert _picture("a finding").svg == _picture("a finding").svg


def test_inline_takes_ink_from_the_page_and_keeps_the_arms_colours() -> None:
    picture = _picture("a finding")
    assert canvas.INK in picture.svg.decode()
    assert canvas.INK not in picture.inline
    assert "var(--ink)" in picture.inline
    assert "#d55e00" in picture.inline
    assert 'id="name-' in picture.inline
    assert "a finding" in picture.inline  # text stays text


def test_inline_refers_to_nothing_that_is_not_in_it() -> None:
    import re

    inline = _picture("a finding").inline
    ids = set(re.findall(r'\bid="([^"]+)"', inline))
    assert set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', inline))
    for one, other in re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', inline):
        assert (one or other) in ids


def test_a_long_title_is_wrapped_and_makes_the_sheet_higher() -> None:
    short = canvas.sheet(canvas.Words("short", "s", "n"), 2.0)
    long = canvas.sheet(canvas.Words("a long finding " * 20, "s", "n"), 2.0)
    assert long.get_size_inches()[1] > short.get_size_inches()[1]
