"""Files, pictures, sentences and provenance, as all studies write them."""
