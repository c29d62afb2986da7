import pytest

from physseg.cli.arguments import new_parser


def parser():
    parser = new_parser("What it does.", prog="program")
    parser.add_argument("--config-file", required=True)
    parser.add_argument("opts", nargs="...")
    return parser


@pytest.mark.parametrize("words", [["--config-file", "toy"], ["--config-file=toy"]])
def test_an_option_among_the_overrides_is_not_called_missing(words, capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(["SOLVER.MAX_ITER", "5", *words])
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "program: error: --config-file stands after the first KEY VALUE: options come before it"


def test_a_missing_option_is_called_missing(capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(["SOLVER.MAX_ITER", "5"])
    assert capsys.readouterr().err.endswith("the following arguments are required: --config-file\n")
