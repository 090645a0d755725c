"""Train, convert and judge what the recipes come to; write docs/results.md, and the worst pictures into --out.

Run: make results DATA=DIR [ARGS="--only steel,phone"]. A set that was finished with the same recipe and pictures is not
run again. One that was stopped goes on. Each set takes at most 25 minutes of training on two cores.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict
from pathlib import Path

from benchmarks.results import folds, page, worst
from benchmarks.results.phones import replayed, shipped
from benchmarks.results.running import ROOT, run
from benchmarks.results.sets import SETS, named

FIT_MINUTES_AT_MOST = 25
SHIPPED = "shipped"  # beside the sets: the model in edge/bundles, which is not trained here


def main() -> None:
    """Run the sets that are asked for and write the page; exit code 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the sets' folders, and video")
    names = [*(one.name for one in SETS), SHIPPED]
    parser.add_argument("--only", help=f"some of {','.join(names)}; all if left out")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "results", help="folder for what the commands write")
    parser.add_argument("--page", action="store_true", help="run nothing: write the page from docs/results.json")
    parser.add_argument("--folds", type=Path, help="run nothing: keep what the comparisons by folds in DIR/SET came to")
    options = parser.parse_args()
    failed = []
    try:
        asked = [] if options.page or options.folds else options.only.split(",") if options.only else names
        wanted = named([name for name in asked if name != SHIPPED])
    except KeyError as unknown:
        parser.error(f"no set {unknown}; there are {', '.join(names)}")
    if options.folds:
        before = page.read_kept(page.DOCS).get(folds.KEPT, {})
        page.keep(page.DOCS, folds.KEPT, before | folds.measured(options.folds))
    for one in wanted:
        ran = run(one, options.data.resolve(), options.out.resolve())
        tables = {}
        if one.name == "phone":
            found = replayed(ran.bundle, options.data.resolve(), ran.folder)
            tables = {"By `linewatch replay`, found where the answer meets the mask:": found}
        page.keep(page.DOCS, one.name, page.entry(ran, tables))
        if ran.training["seconds"] > FIT_MINUTES_AT_MOST * 60:
            failed.append(f"{one.name}: trained {ran.training['seconds'] / 60:.1f} minutes")
    if SHIPPED in asked:
        judged = shipped(options.data.resolve(), options.out.resolve())
        page.keep(page.DOCS, SHIPPED, {"date": time.strftime("%Y-%m-%d"), **asdict(judged)})
    page.write(page.DOCS)
    kept = page.read_kept(page.DOCS)
    pictures = worst.write(options.out, kept)
    print("written:", *filter(None, ["docs/results.md", pictures and str(pictures)]))
    failed += page.missed(kept)
    print("\n".join(failed) or "every target is reached")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
