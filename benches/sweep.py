"""What a sweep of many units costs beyond the computing.

    python benches/sweep.py target/debug [--units 5000] [--experiment crowding-trained]

Makes so many models, hard links to one small one under names of their own, and
runs an experiment over them in the way of a user: the plan alone, the whole,
and the whole again when everything is in the store. Prints how long each stage
took, how much of the computing was not the workers', the peak memory of the
process that holds the sweep, and the workers' memory over the models.

The standard library does it.
"""

import argparse
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


def children(pid):
    try:
        tasks = Path(f"/proc/{pid}/task").iterdir()
        return [int(c) for t in tasks for c in (t / "children").read_text().split()]
    except OSError:
        return []


def run(programs, arguments, folder):
    """Runs xtask; gives the stages' seconds, its peak, its workers' peaks in
    the order of their starts, and what it said."""
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
                peak = high_water(pid)
                if peak:
                    peaks[pid] = max(peak, peaks.get(pid, 0.0))
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
        tenth = max(len(workers) // 10, 1)
        first, last = workers[:tenth], workers[-tenth:]
        print(
            f"a worker's peak, {len(workers)} seen: {statistics.median(first):.0f} MiB over the"
            f" first tenth of the models, {statistics.median(last):.0f} over the last"
        )
        seconds, peak, _, _ = run(programs, arguments, folder)
        show("again, all in the store", seconds, peak)


if __name__ == "__main__":
    main()
