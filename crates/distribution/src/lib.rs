//! What the teacher says about one position: top-k, tail mass and their numeric form.
