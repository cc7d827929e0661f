"""What a sweep of many units costs beyond the computing.

    python benches/sweep.py target/debug [--units 5000] [--experiment crowding-trained]

Makes so many models, hard links to one small one under names of their own, and
runs an experiment over them in the way of a user: the plan alone, the whole,
and the whole again when everything is in the store. Prints how long each stage
took, how much of the computing was not the workers', how much of theirs was not
measuring (start, hashes, loading, claim, commit), and the peak memory of the
process that holds the sweep and of its workers: those that measure one model
each, and those that see all of them.

The standard library does it.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "organisms/crowding/free-L4-H2x8-s1"
# The first line of each stage.
STAGES = [
    ("plan", "plan: "),
    ("looking into the store", "plan: looking"),
    ("computing", "to be computed, in about"),
    ("statistics", "statistics: experiments"),
    ("comparison", "golden: reading records"),
    ("report", "report: "),
    ("waiting for LaTeX", "report: setting report.pdf"),
]


def high_water(pid):
    """Peak of a process's resident memory in MiB; None if it is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    found = re.search(r"VmHWM:\s+(\d+) kB", text)
    return int(found[1]) / 1024 if found else None


def command(pid):
    """What a worker was started for; None of another program, or if it is gone."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return None
    return words[1] if words[0].endswith("assay-worker") else None


def measuring(store):
    """Seconds that measuring took in all, as the notes beside the records say."""
    notes = (json.loads(p.read_text()) for p in store.glob("made/*/*.json"))
    return sum(note["made"]["milliseconds"] for note in notes) / 1000


def children(pid):
    try:
        tasks = Path(f"/proc/{pid}/task").iterdir()
        return [int(c) for t in tasks for c in (t / "children").read_text().split()]
    except OSError:
        return []


def run(programs, arguments, folder):
    """Runs xtask; gives the stages' seconds, its peak, its workers' peaks as
    (command, MiB) in the order of their starts, and what it said."""
    environment = dict(os.environ, ASSAY_BIN=str(programs))
    started = time.monotonic()
    process = subprocess.Popen(
        [str(programs / "xtask"), *arguments],
        cwd=folder, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )
    peaks, own = {}, [0.0]

    def watch():
        while process.poll() is None:
            own[0] = max(own[0], high_water(process.pid) or 0.0)
            for pid in children(process.pid):
                kind, peak = command(pid), high_water(pid)
                if kind and peak:
                    peaks[pid] = (kind, max(peak, peaks.get(pid, (kind, 0.0))[1]))
            time.sleep(0.01)

    watcher = threading.Thread(target=watch)
    watcher.start()
    marks, said = [], []
    for line in process.stderr:
        said.append(line.rstrip("\n"))
        for stage, words in STAGES:
            if words in line and stage not in [s for s, _ in marks]:
                marks.append((stage, time.monotonic() - started))
    watcher.join()
    marks.append(("end", time.monotonic() - started))
    if process.wait() not in (0, 1):
        raise SystemExit("\n".join(said[-5:]))
    seconds = {a[0]: b[1] - a[1] for a, b in zip(marks, marks[1:])}
    seconds["all"] = marks[-1][1]
    return seconds, own[0], list(peaks.values()), "\n".join(said)


def show(what, seconds, peak):
    stages = ", ".join(f"{stage} {s:.1f}" for stage, s in seconds.items())
    print(f"{what}: {stages} s; peak of the process that holds it {peak:.0f} MiB", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("programs", type=Path)
    parser.add_argument("--units", type=int, default=5000)
    parser.add_argument("--experiment", default="crowding-trained")
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    # Beside the project, so that files can be linked.
    with tempfile.TemporaryDirectory(dir=ROOT / "target") as folder:
        folder = Path(folder)
        arguments = ["reproduce", "--offline", "--experiments", options.experiment]
        arguments += ["--store", "store", "--out", "out", "--workers", str(options.workers)]
        for i in range(options.units):
            model = folder / f"m{i:05}"
            model.mkdir()
            for file in MODEL.iterdir():
                os.link(file, model / file.name)
            arguments += ["--models", model.name]
        programs = options.programs.resolve()
        seconds, peak, _, _ = run(programs, [*arguments, "--dry-run"], folder)
        show(f"plan of {options.units} units", seconds, peak)
        seconds, peak, workers, said = run(programs, arguments, folder)
        show("the whole", seconds, peak)
        found = re.search(r"units computed in .*; their workers ran for ([\d.]+) s", said)
        beyond = seconds["computing"] - float(found[1]) / options.workers
        print(f"of the computing, {beyond:.1f} s were not the workers'")
        around = (float(found[1]) - measuring(folder / "store")) / options.units
        print(f"of a worker's time, {1000 * around:.1f} ms a unit were not measuring")
        ran = [peak for kind, peak in workers if kind == "run"]
        tenth = max(len(ran) // 10, 1)
        first, last = ran[:tenth], ran[-tenth:]
        print(
            f"peak of a worker that measures, {len(ran)} seen: {statistics.median(first):.0f} MiB"
            f" over the first tenth of the models, {statistics.median(last):.0f} over the last"
        )
        for kind in ["survey", "summarise"]:
            peak = max(peak for k, peak in workers if k == kind)
            print(f"peak of the worker that does the {kind} of all: {peak:.0f} MiB")
        seconds, peak, _, _ = run(programs, arguments, folder)
        show("again, all in the store", seconds, peak)


if __name__ == "__main__":
    main()
