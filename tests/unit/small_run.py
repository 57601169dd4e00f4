"""A run that is small in everything, for tests to change what they are about."""

from scaling_laws.training.spec import RunSpec

SPEC = RunSpec(
    n_layer=1,
    d_model=8,
    n_head=1,
    d_ff=32,
    n_ctx=16,
    vocab_size=64,
    data_tokens=1000,
    batch_sequences=4,
    steps=10,
    beta1=0.9,
    beta2=0.95,
    weight_decay=0.1,
    gradient_clip=1.0,
    warmup_steps=0,
    lr=0.02,
    evaluations=2,
    test_tokens=100,
)
