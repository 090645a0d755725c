"""Train, convert and judge what the recipes come to, and write docs/results.md.

Run: make results DATA=DIR [ARGS="--only steel,phone"]. A set that was finished with the same recipe and pictures is not
run again; one that was stopped goes on. Each set takes at most 25 minutes of training on two cores.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from benchmarks.results import page
from benchmarks.results.phones import replayed
from benchmarks.results.running import ROOT, run
from benchmarks.results.sets import SETS, named

FIT_MINUTES_AT_MOST = 25


def main() -> None:
    """Run the sets that are asked for and write the page; exit code 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the sets' folders, and video")
    parser.add_argument("--only", help=f"some of {','.join(one.name for one in SETS)}; all if left out")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "results", help="folder for what the commands write")
    parser.add_argument("--page", action="store_true", help="run nothing: write the page from docs/results.json")
    options = parser.parse_args()
    failed = []
    try:
        wanted = [] if options.page else named(options.only.split(",") if options.only else None)
    except KeyError as unknown:
        parser.error(f"no set {unknown}; there are {', '.join(one.name for one in SETS)}")
    for one in wanted:
        ran = run(one, options.data.resolve(), options.out.resolve())
        date, tables = time.strftime("%Y-%m-%d"), {}
        if one.name == "phone":
            found = replayed(ran.bundle, options.data.resolve(), ran.bundle.parent)
            tables = {"By `linewatch replay`, found where the answer meets the mask:": found.trained}
            page.keep(
                page.DOCS,
                "shipped",
                {
                    "date": date,
                    "table": found.shipped,
                    "found": found.shipped_found,
                    "false": found.shipped_false,
                    "intervals": found.shipped_intervals,
                },
            )
        page.keep(page.DOCS, one.name, page.entry(ran, date, tables))
        if ran.training["seconds"] > FIT_MINUTES_AT_MOST * 60:
            failed.append(f"{one.name}: trained {ran.training['seconds'] / 60:.1f} minutes")
    page.write(page.DOCS)
    print("written: docs/results.md")
    failed += page.missed(page.read_kept(page.DOCS))
    print("\n".join(failed) or "every target is reached")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
