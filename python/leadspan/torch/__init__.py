"""Training from a cache with PyTorch: a data set, batches, the loss.

    dataset = Dataset("leadspan-quickstart/cache", proportion=0.5)
    loader = torch.utils.data.DataLoader(dataset, batch_size=8, collate_fn=collate)
    for batch in loader:
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        distillation_loss(logits, batch, distillation_weight=0.5).backward()

PyTorch is no dependency of the package: install it as you need it.
"""

from ._batches import Batch, collate
from ._data import Dataset, Resumed
from ._loss import distillation_loss, forward_kl

__all__ = ["Batch", "Dataset", "Resumed", "collate", "distillation_loss", "forward_kl"]
