"""The command line: each command is one call into the package."""

import argparse
import logging
import os
import sys
import warnings
from io import BytesIO
from pathlib import Path

from lle import __version__
from lle.enhance import DEFAULT, RAW_DEFAULT, WEIGHTS

HEADLESS = " (pip uninstall opencv-python, and pip install opencv-python-headless in its place)"
PARTS = ("train", "validation", "test")


def main(arguments=None):
    """Run a command and return the exit status: 0, 1 after an error that the user can mend, 130 after Ctrl-C."""
    options = _parser().parse_args(arguments)
    if arguments is None and os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") != "0":
        hush_libraries()
    try:
        status = options.run(options) or 0
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        print("lle: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else Python would complain once more at its end
        return 1
    except (ValueError, OSError) as error:
        print("lle:", _as_line(error), file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        backend = os.environ.get("KERAS_BACKEND")
        print(f"lle: {error}" + (f" (KERAS_BACKEND is {backend})" if backend else ""), file=sys.stderr)
        return 1
    except ImportError as error:
        print(f"lle: {error}{HEADLESS if 'libGL' in str(error) else ''}", file=sys.stderr)
        return 1


def _as_line(error):
    from lle.paths import one_line

    return one_line(" ".join(line.strip() for line in str(error).splitlines() if line.strip()))


def hush_libraries(log=os.devnull):
    """Leave the terminal to Python.

    TensorFlow's start-up messages, the decoders' complaints and what processes started from here say go into a file;
    what Pillow says of broken metadata goes nowhere.
    """
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="PIL")
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), 2)


def _parser():
    parser = argparse.ArgumentParser(prog="lle", description="Low-light image enhancement.")
    parser.add_argument("--version", action="version", version=f"lle {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_enhance(commands)
    _add_evaluate(commands)
    _add_compare(commands)
    command = commands.add_parser("results", help="print the table of the finished runs, as Markdown")
    command.add_argument("folder", nargs="?", default="results", help="folder of the runs' JSON files (results)")
    command.add_argument("--reports", action="store_true", help="what the reports claim, beside what they come to")
    command.set_defaults(run=_results)
    command = commands.add_parser("download", help="fetch a data set")
    command.add_argument("name", choices=["lol"], help="LOL v1, 347 MB, into data/LOLdataset")
    command.set_defaults(run=_download)
    return parser


def _add_enhance(commands):
    command = commands.add_parser("enhance", help="enhance pictures, folders of pictures, camera raw")
    command.add_argument("sources", nargs="+", metavar="FILE_OR_FOLDER")
    command.add_argument("-o", "--out", required=True, help="output folder, or the output picture for a single one")
    _add_model(command, None, f"{DEFAULT}, for camera raw {RAW_DEFAULT}")
    command.add_argument(
        "--ratio", type=_ratio,
        help="amplify camera raw by this number or auto (auto; given, raw files inside folders are developed too)",
    )  # fmt: skip
    command.add_argument(
        "--brightness", type=_share,
        help="the mean grey value that each result should have, between 0 (black) and 1 (white), for a network that "
        "can be told; it brightens and hardly darkens",
    )  # fmt: skip
    _add_limit(command)
    command.add_argument(
        "--bfloat16",
        action="store_true",
        help="be faster where processor or GPU have bfloat16; for dawn and zero_dce",
    )
    command.add_argument("--force", action="store_true", help="overwrite what is there instead of leaving it")
    command.set_defaults(run=_enhance)


def _add_evaluate(commands):
    command = commands.add_parser("evaluate", help="measure a network on image pairs")
    _add_model(command)
    command.add_argument(
        "--data", default="samples", help="samples, lol, or a folder with the pairs in low/ and high/ (samples)"
    )
    command.add_argument("--split", choices=PARTS, help="of samples and lol (test)")
    command.add_argument(
        "--protocol",
        default="standard",
        choices=("standard", "gt_mean", "report_1", "report_3", "report_5"),
        help="standard, or what is measured in a report (standard)",
    )
    _add_limit(command)
    command.add_argument("-o", "--out", help="also write the table to this CSV file")
    command.add_argument("--force", action="store_true", help="overwrite that file")
    command.set_defaults(run=_evaluate)


def _add_compare(commands):
    command = commands.add_parser("compare", help="write a sheet that shows pictures and their enhancements")
    command.add_argument("files", nargs="+", metavar="FILE")
    says = f"{_networks()}, or path of a .keras file; may be given several times ({DEFAULT})"
    command.add_argument("--model", action="append", help=says)
    command.add_argument(
        "--brightness", action="append", type=_share,
        help="the mean grey value of the results, as for enhance, of those networks that can be told; may be given "
        "several times",
    )  # fmt: skip
    _add_limit(command)
    command.add_argument("-o", "--out", required=True, help="the sheet, such as sheet.png")
    command.add_argument("--force", action="store_true", help="overwrite that file")
    command.set_defaults(run=_compare)


def _add_model(command, default=DEFAULT, says=DEFAULT):
    command.add_argument("--model", default=default, help=f"{_networks()}, or path of a .keras file ({says})")


def _networks():
    names = sorted(card.stem for card in WEIGHTS.glob("*.json"))
    return f"name of a network, one of {', '.join(names)} ({RAW_DEFAULT} takes camera raw)"


def _add_limit(command):
    command.add_argument(
        "--max-megapixels", type=_positive, help="refuse larger pictures before they are decoded (179)"
    )


def _ratio(text):
    if text == "auto":
        return text
    return _positive(text)


def _share(text):
    number = _positive(text)
    if number >= 1:
        raise argparse.ArgumentTypeError(f"{text} is not below 1")
    return number


def _positive(text):
    try:
        number = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text} is no number") from error
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number


def _enhance(options):
    from lle.files import enhance_files

    report = enhance_files(
        options.sources, options.out, options.model, options.force, options.ratio, options.brightness,
        options.max_megapixels, "mixed_bfloat16" if options.bfloat16 else None,
    )  # fmt: skip
    again = " (--force makes them anew)" if report.skipped else ""
    print(f"{len(report.written)} enhanced, {len(report.skipped)} there already{again}, {len(report.failed)} failed")
    return int(bool(report.failed))


def _evaluate(options):
    _check_out(options)

    from lle import metrics
    from lle.enhance import load
    from lle.paths import naming, one_line, replacing

    pairs = _pairs(options.data, options.split, options.max_megapixels)
    if options.out:
        _check_inputs(options.out, [options.model, *(path for pair in pairs for path in pair)])
    table = metrics.evaluate(load(options.model), pairs, options.protocol, options.max_megapixels)
    table = table.rename(index=one_line)  # a name that is no UTF-8 can be neither printed nor written
    print(table.to_string(float_format="{:.4f}".format))
    if options.out:
        with replacing(options.out) as temporary, naming(options.out):
            table.to_csv(temporary, index_label="image")


def _pairs(data, split, max_megapixels):
    from lle.data import find_pairs, lol, samples

    if data in ("samples", "lol"):
        return getattr(samples() if data == "samples" else lol(), split or "test")
    if split:
        raise ValueError(f"{data}: a folder of pairs is measured whole, --split is for samples and lol")
    if not Path(data, "low").is_dir():
        raise ValueError(f"{data}: neither samples nor lol nor a folder that holds low/ and high/")
    return find_pairs(Path(data, "low"), Path(data, "high"), max_megapixels)


def _compare(options):
    from matplotlib.backend_bases import FigureCanvasBase

    names = options.model or [DEFAULT]
    _check_inputs(options.out, [*options.files, *names])
    _check_out(options, FigureCanvasBase.get_supported_filetypes())

    import numpy as np

    from lle import plots
    from lle.enhance import enhance, load
    from lle.pictures import open_picture

    for file in options.files:
        if os.path.isdir(file):
            raise ValueError(f"{file} is a folder: name the pictures that go on the sheet")
    titles = [Path(name).stem for name in names]
    models = dict(zip(titles if len({"input", *titles}) > len(names) else names, map(load, names), strict=True))
    told = {title for title, model in models.items() if options.brightness and hasattr(model, "prepare")}
    if options.brightness and not told:
        raise ValueError(f"{' and '.join(models)} cannot be told a brightness")
    columns = {
        title if brightness is None else f"{title}, {brightness:g}": (model, brightness)
        for title, model in models.items()
        for brightness in (options.brightness if title in told else [None])
    }
    rows = []
    for file in options.files:
        with open_picture(file, options.max_megapixels) as picture:
            pictures = {"input": picture, **{title: enhance(picture, *how) for title, how in columns.items()}}
        rows.append({title: np.asarray(_small(picture)) for title, picture in pictures.items()})
    figure = plots.compare(rows, names=[Path(file).stem for file in options.files])
    _write_figure(figure, options.out, dpi=figure.dpi * max(1, (1 + len(columns)) / 3))  # to choose by


def _write_figure(figure, out, dpi):
    from lle.paths import naming, replacing

    memory = BytesIO()  # Pillow's own writing takes no notice of a disk that becomes full
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # of names in scripts for which Matplotlib has no font
        figure.savefig(memory, format=Path(out).suffix[1:].lower(), dpi=dpi)
    with replacing(out) as temporary, naming(out):
        temporary.write_bytes(memory.getbuffer())


def _small(picture):
    from lle.data import to_rgb

    picture = to_rgb(picture)
    picture.thumbnail((1024, 1024))  # wider than a column of the sheet
    return picture


def _results(options):
    from lle import results

    print((results.reports_table if options.reports else results.table)(options.folder))


def _download(options):
    from lle import download

    print(download.lol())


def _check_inputs(out, files):
    """Refuse an output that is one of the files that are read, also by a link; `files` may hold names of networks."""
    for file in files:
        if os.path.exists(out) and os.path.exists(file) and os.path.samefile(out, file):
            raise ValueError(f"{out} is the input {file} and would be replaced: choose another output")


def _check_out(options, formats=None):
    """Find out before the work, not after it, that the output cannot be written."""
    if options.out is None:
        return
    out = Path(options.out)
    if out.is_dir():
        raise ValueError(f"{out} is a folder: give the name of a file")
    if out.exists() and not options.force:
        raise ValueError(f"{out} exists: give another name, or --force to overwrite it")
    if formats and out.suffix[1:].lower() not in formats:
        raise ValueError(f"{out}: the suffix must be one of {', '.join(sorted(formats))}")
    # Folders that are missing are made when the file is written; a link that leads nowhere is none of them.
    folder = next(parent for parent in out.absolute().parents if os.path.lexists(parent))
    if not folder.is_dir():
        raise ValueError(f"{out}: {folder} is no folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"{out}: nothing can be written into {folder}")


if __name__ == "__main__":
    sys.exit(main())
