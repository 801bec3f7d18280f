"""Distils with the Trainer of transformers, from a cache alone. Stopped, it goes on after its last whole checkpoint.

    python trainer.py --cache leadspan-quickstart/cache --student leadspan-quickstart/base --out distilled

The checkpoints are the Trainer's own, one after each epoch. What was learnt is not read again.
"""

import argparse
import pathlib

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments

from leadspan.torch import Dataset, collate, distillation_loss


class DistillationTrainer(Trainer):
    """A Trainer whose batches are those of `leadspan.torch.collate`, and whose loss is leadspan's."""

    def __init__(self, *arguments, distillation_weight, **settings):
        super().__init__(*arguments, **settings)
        self.distillation_weight = distillation_weight

    def compute_loss(self, model, inputs, return_outputs=False, **_):
        outputs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False)
        loss = distillation_loss(outputs.logits, inputs, self.distillation_weight)
        return (loss, outputs) if return_outputs else loss

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad():
            return self.compute_loss(model, inputs).detach(), None, None


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--cache", required=True, help="the folder of the cache")
parser.add_argument("--student", required=True, help="the folder of the student")
parser.add_argument("--out", required=True, help="where the trained student goes")
parser.add_argument("--proportion", type=float, default=1.0, help="the share of every sequence that is learnt")
parser.add_argument("--distillation-weight", type=float, default=0.5, help="α: the weight of forward KL")
parser.add_argument("--learning-rate", type=float, default=4e-6)
parser.add_argument("--epochs", type=float, default=2)
parser.add_argument("--batch-samples", type=int, default=8)
given = parser.parse_args()

held_out = Dataset(given.cache, split="validation")
settings = TrainingArguments(
    output_dir=given.out,
    learning_rate=given.learning_rate,
    weight_decay=0.05,
    lr_scheduler_type="cosine",
    warmup_steps=0.1,
    num_train_epochs=given.epochs,
    per_device_train_batch_size=given.batch_samples,
    per_device_eval_batch_size=given.batch_samples,
    eval_strategy="epoch" if len(held_out) else "no",
    save_strategy="epoch",
    save_total_limit=2,
    logging_steps=10,
    remove_unused_columns=False,
    report_to=[],
)
trainer = DistillationTrainer(
    AutoModelForCausalLM.from_pretrained(given.student, dtype=torch.float32),
    settings,
    data_collator=collate,
    train_dataset=Dataset(given.cache, given.proportion),
    eval_dataset=held_out,
    distillation_weight=given.distillation_weight,
)
# The state is what the Trainer writes last: a checkpoint without it is that of a run that was killed.
states = pathlib.Path(given.out).glob("checkpoint-*/trainer_state.json")
last = max((state.parent for state in states), key=lambda folder: int(folder.name.split("-")[1]), default=None)
trainer.train(resume_from_checkpoint=last and str(last))
trainer.save_model(given.out)
AutoTokenizer.from_pretrained(given.student).save_pretrained(given.out)
