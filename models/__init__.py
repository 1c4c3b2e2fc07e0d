"""What a model is: configuration, network, tokenizer and checkpoint form, shared by both sides."""
