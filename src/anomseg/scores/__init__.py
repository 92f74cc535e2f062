"""Pure scores: tensors in, tensor out; higher means more anomalous."""
