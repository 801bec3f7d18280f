"""Distils in a plain PyTorch loop, from a cache alone. Stopped, it goes on after its last finished epoch.

    python plain.py --cache leadspan-quickstart/cache --student leadspan-quickstart/base --out distilled
"""

import argparse
import math
import pathlib

import torch
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler
from transformers import AutoModelForCausalLM, AutoTokenizer

from leadspan.torch import Dataset, Resumed, collate, distillation_loss, forward_kl

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--cache", required=True, help="the folder of the cache")
parser.add_argument("--student", required=True, help="the folder of the student")
parser.add_argument("--out", required=True, help="where the trained student goes")
parser.add_argument("--proportion", type=float, default=1.0, help="the share of every sequence that is learnt")
parser.add_argument("--distillation-weight", type=float, default=0.5, help="α: the weight of forward KL")
parser.add_argument("--learning-rate", type=float, default=4e-6)
parser.add_argument("--epochs", type=int, default=2)
parser.add_argument("--batch-samples", type=int, default=8)
parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
given = parser.parse_args()

model = AutoModelForCausalLM.from_pretrained(given.student, dtype=torch.float32).to(given.device)
train = Dataset(given.cache, given.proportion)
# The order depends on seed and epoch alone; the sampler also serves one process.
sampler = DistributedSampler(train, num_replicas=1, rank=0, seed=0)
steps_per_epoch = math.ceil(len(sampler) / given.batch_samples)
steps = given.epochs * steps_per_epoch
optimizer = torch.optim.AdamW(model.parameters(), given.learning_rate, weight_decay=0.05)
warmup = max(1, steps // 10)


def rate(step):
    """Up in a line, then down in half a cosine."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 + 0.5 * math.cos(math.pi * (step - warmup) / max(1, steps - warmup))


schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
checkpoint, step = pathlib.Path(given.out, "checkpoint.pt"), 0
if checkpoint.exists():
    saved = torch.load(checkpoint, map_location=given.device)
    step = saved["step"]
    for part, state in (model, "model"), (optimizer, "optimizer"), (schedule, "schedule"):
        part.load_state_dict(saved[state])


def logits_of(batch):
    fed = {name: batch[name].to(given.device) for name in ("input_ids", "attention_mask")}
    return model(**fed, use_cache=False).logits


def held_out():
    """The mean forward KL at the positions of the validation samples, which are whole; NaN if there are none."""
    total = count = 0
    with torch.no_grad():
        for batch in DataLoader(Dataset(given.cache, split="validation"), 32, collate_fn=collate):
            total += forward_kl(logits_of(batch), batch, reduction="sum").item()
            count += len(batch["rows"])
    return total / count if count else math.nan


pathlib.Path(given.out).mkdir(parents=True, exist_ok=True)
while step < steps:
    epoch, done = divmod(step, steps_per_epoch)
    sampler.set_epoch(epoch)
    loader = DataLoader(train, given.batch_samples, sampler=Resumed(sampler, done * given.batch_samples), collate_fn=collate)
    for batch in loader:
        loss = distillation_loss(logits_of(batch), batch, given.distillation_weight)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        step += 1
    print(f"epoch {epoch + 1}: loss of the last step {loss.item():.4f}, held-out forward KL {held_out():.4f}", flush=True)
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule}
    torch.save({"step": step, **{name: part.state_dict() for name, part in parts.items()}}, checkpoint.with_suffix(".tmp"))
    checkpoint.with_suffix(".tmp").replace(checkpoint)
model.save_pretrained(given.out)
AutoTokenizer.from_pretrained(given.student).save_pretrained(given.out)
