"""The table of a comparison in words."""

from polyrank.comparing.tables import as_latex, as_markdown, table

ROWS = [
    {"arm": "rbla & co", "seeds": 2, "accuracy": 0.9, "accuracy_sd": 0.011, "bytes": 1500.0},
    {
        **{"arm": "a_b|c", "seeds": 1, "failed": 1, "accuracy": 0.85, "accuracy_sd": None},
        **{"difference": -0.05, "difference_low": None, "difference_high": None, "pairs": 1},
    },
]


def test_columns_without_a_number_are_left_out():
    heads, rows = table(ROWS, None)
    assert heads == ["arm", "seeds", "accuracy", "difference, points", "bytes in all"]
    assert rows == [
        ["rbla & co", "2", "90.0 % ± 1.1", "", "1.50 kB"],
        ["a_b|c", "1, 1 failed", "85.0 %", "-5.0 (one seed)", ""],
    ]


def test_a_target_stands_in_the_heads():
    row = {"arm": "a", "seeds": 3, "accuracy": 0.5, "reach_target": 2, "rounds_to_target": 4.5}
    heads, rows = table([row], 0.75)
    assert heads[-2:] == ["runs to 75.0 %", "rounds to 75.0 %"]
    assert rows[0][-2:] == ["2 of 3", "4.50"]


def test_a_language_model_is_told_by_perplexity():
    heads, rows = table([{"arm": "a", "seeds": 2, "perplexity": 7.25, "perplexity_sd": 0.5}], None)
    assert (heads[2], rows[0][2]) == ("perplexity", "7.25 ± 0.50")


def test_markdown_and_latex_show_names_as_they_are():
    heads, rows = table(ROWS, None)
    assert as_markdown(heads, rows).splitlines()[1:] == [
        "| --- | ---: | ---: | ---: | ---: |",
        "| rbla & co | 2 | 90.0 % ± 1.1 |  | 1.50 kB |",
        r"| a_b\|c | 1, 1 failed | 85.0 % | -5.0 (one seed) |  |",
    ]
    assert as_latex(heads, rows).splitlines() == [
        r"\begin{tabular}{lrrrr}",
        r"\toprule",
        r"arm & seeds & accuracy & difference, points & bytes in all \\",
        r"\midrule",
        r"rbla \& co & 2 & 90.0 \% $\pm$ 1.1 &  & 1.50 kB \\",
        r"a\_b|c & 1, 1 failed & 85.0 \% & -5.0 (one seed) &  \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]
