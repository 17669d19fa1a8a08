"""Speed on the processor beside llama.cpp's CPU build (the wheel xllamacpp): the same GGUF files, the same tokens, in turns.

python3 bench-cpu.py [FILE ...] [--turns N] [--prompt-tokens N] [--gen-tokens N] [--threads N] [--json]

Without files: the embedded model, and a random one of 0.5B in Q4_K_M, which it makes. Each turn is a process of its own, and either
program is the first as often as the other. Floors: what a token reads over what this machine reads in a second.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = ROOT / "target/release/peregrine"
WHEEL = ROOT / ".tools/llama"


def llama(file, prompt_tokens, gen_tokens, threads):
    """One turn of llama.cpp, in this process. The first request warms up, as `peregrine bench` does."""
    sys.path.insert(0, str(WHEEL))
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = file
    params.n_ctx = max(512, prompt_tokens + gen_tokens + 64)
    params.n_parallel = 1
    params.n_gpu_layers = 0
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    server = xllamacpp.Server(params)
    prompt = [100 + 37 * i % 900 for i in range(prompt_tokens)]
    for _ in range(2):
        request = {"prompt": prompt, "n_predict": gen_tokens, "temperature": 0, "cache_prompt": False, "ignore_eos": True}
        answer = server.handle_completions(request)
        if isinstance(answer, (str, bytes)):
            answer = json.loads(answer)
    timings = answer["timings"]
    if (timings["prompt_n"], timings["predicted_n"]) != (prompt_tokens, gen_tokens):
        raise SystemExit(f"llama.cpp read {timings['prompt_n']} tokens and made {timings['predicted_n']}")
    # The first token comes from the prompt; the clock of the others starts with it.
    seconds = timings["predicted_ms"] / 1000
    return {"prompt": timings["prompt_per_second"], "decode": (gen_tokens - 1) / seconds, "info": xllamacpp.get_system_info().strip()}


def peregrine(file, prompt_tokens, gen_tokens, threads):
    """One turn of ours."""
    sizes = ["--prompt-tokens", str(prompt_tokens), "--gen-tokens", str(gen_tokens), "--repeat", "1"]
    environment = {**os.environ, "RAYON_NUM_THREADS": str(threads)}
    report = run([PROGRAM, "bench", file, "--device", "cpu", *sizes, "--json"], environment)
    prompt, decode = report["prefill_tokens_per_second"], report["decode_tokens_per_second"]
    floor = report["bytes_per_token"]["all"] / (report["floor"]["gigabytes_per_second"] * 1e9)
    found = {"prompt": prompt, "decode": decode, "info": report["adapter"], "floor": 1 / floor}
    return {**found, "read": report["floor"]["gigabytes_per_second"], "bytes": report["bytes_per_token"]["all"]}


def run(command, environment=None):
    done = subprocess.run([str(word) for word in command], env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}: status {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def in_its_own_process(file, *sizes):
    """What `llama` finds, without its threads in this one. Its log is of no use here."""
    command = [sys.executable, __file__, "--one", file, *sizes]
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"llama.cpp: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def made_05b():
    path = ROOT / "target/bench/0.5b-Q4_K_M.gguf"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        made = [PROGRAM, "synth", "--size", "0.5b", "--type", "Q4_K_M", "--seed", "1", "-o", path]
        subprocess.run([str(word) for word in made], check=True)
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--prompt-tokens", type=int, default=128)
    parser.add_argument("--gen-tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    files = args.files or [ROOT / "models/tiny/peregrine-tiny-chat-Q4_0.gguf", made_05b()]
    sizes = (args.prompt_tokens, args.gen_tokens, args.threads)
    reports = []
    for file in files:
        found = {"peregrine": [], "llama.cpp": []}
        for turn in range(args.turns):
            both = [("peregrine", peregrine), ("llama.cpp", in_its_own_process)]
            for name, measure in both if turn % 2 == 0 else reversed(both):
                found[name].append(measure(file, *sizes))
        report = {"file": file.name, "turns": args.turns, "threads": args.threads}
        for name, turns in found.items():
            best = {key: max(turn[key] for turn in turns) for key in ("prompt", "decode")}
            middle = {key: median(turn[key] for turn in turns) for key in ("prompt", "decode")}
            report[name] = {"info": turns[0]["info"], "best": best, "median": middle}
        ours = report["peregrine"]
        read = max(turn["read"] for turn in found["peregrine"])
        report["floor"] = {"decode": read * 1e9 / found["peregrine"][0]["bytes"], "gigabytes_per_second": read}
        for kind in ("best", "median"):
            report[f"ratio of the {kind}"] = {key: ours[kind][key] / report["llama.cpp"][kind][key] for key in ("prompt", "decode")}
        reports.append(report)
        if not args.json:
            show(report, sizes)
    if args.json:
        print(json.dumps(reports, indent=1))


def show(report, sizes):
    print(f"{report['file']}: a prompt of {sizes[0]} tokens, then {sizes[1]}; {report['turns']} turns of each, {sizes[2]} threads")
    print(f"{'':<12} {'prompt, best':>14} {'median':>9} {'decode, best':>14} {'median':>9}   tokens/s")
    for name in ("peregrine", "llama.cpp"):
        row = [report[name][kind][key] for key in ("prompt", "decode") for kind in ("best", "median")]
        print(f"{name:<12} {row[0]:>14.1f} {row[1]:>9.1f} {row[2]:>14.1f} {row[3]:>9.1f}   {report[name]['info']}")
    row = [report[f"ratio of the {kind}"][key] for key in ("prompt", "decode") for kind in ("best", "median")]
    print(f"{'ratio':<12} {row[0]:>14.2f} {row[1]:>9.2f} {row[2]:>14.2f} {row[3]:>9.2f}")
    floor = report["floor"]
    print(f"{'floor':<12} {'':>14} {'':>9} {floor['decode']:>14.1f} {'':>9}   reading {floor['gigabytes_per_second']:.1f} GB/s\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(llama(sys.argv[2], *map(int, sys.argv[3:]))))
    else:
        main()
