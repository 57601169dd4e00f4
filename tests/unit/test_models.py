"""Models: what they compute is what others compute with the same weights."""

import copy
import math
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import GPT2Config, GPT2LMHeadModel

from scaling_laws.models.architecture import Architecture
from scaling_laws.models.build import build
from scaling_laws.models.counts import parameter_groups

torch.set_num_threads(1)

SIZES = {"n_ctx": 16, "vocab_size": 64}
TRANSFORMER = Architecture(n_layer=2, d_model=16, n_head=2, d_ff=64, **SIZES)
KINDS = {
    "transformer": TRANSFORMER,
    "no layers": Architecture(n_layer=0, d_model=16, n_head=2, d_ff=64, **SIZES),
    "universal": Architecture(
        architecture="universal", n_layer=2, d_model=16, n_head=4, d_ff=40, reuse=3, **SIZES
    ),
    "lstm": Architecture(architecture="lstm", n_layer=2, d_model=16, **SIZES),
}
KINDS |= {
    f"{name}, untied": architecture.model_copy(update={"tied_head": False})
    for name, architecture in KINDS.items()
}
every_kind = pytest.mark.parametrize("architecture", KINDS.values(), ids=KINDS)


def built(architecture, seed=0, spread=None):
    """Return a new model; with `spread`, noise of that deviation is added to all parameters."""
    torch.manual_seed(seed)
    model = build(architecture)
    if spread:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += spread * torch.randn_like(parameter)
    return model


def some_tokens(architecture, batch=3, n_ctx=None, seed=1):
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, (n_ctx or architecture.n_ctx) + 1)
    sequences = torch.randint(0, architecture.vocab_size, shape, generator=generator)
    return sequences[:, :-1], sequences[:, 1:]


def gradients(model, logits, targets):
    """Return the gradient of the mean loss for every parameter, by name."""
    names, parameters = zip(*model.named_parameters(), strict=True)
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
    return dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))


def name_in_gpt2(name):
    for ours, theirs in {
        "token_embedding": "transformer.wte",
        "position_embedding": "transformer.wpe",
        "untied_head": "lm_head.weight",
        "blocks": "transformer.h",
        "attention_norm": "ln_1",
        "query_key_value": "attn.c_attn",
        "feed_forward_norm": "ln_2",
        "projection": "attn.c_proj",
        "expand": "mlp.c_fc",
        "contract": "mlp.c_proj",
        "norm.": "transformer.ln_f.",
    }.items():
        if ours != "norm." or name.startswith(ours):
            name = name.replace(ours, theirs)
    return name


@pytest.mark.parametrize(
    "architecture",
    [
        Architecture(n_layer=3, d_model=48, n_head=4, d_ff=192, n_ctx=32, vocab_size=101),
        Architecture(
            n_layer=2, d_model=21, n_head=3, d_ff=53, n_ctx=13, vocab_size=97, tied_head=False
        ),
    ],
    ids=["usual proportions", "odd sizes, untied"],
)
@pytest.mark.parametrize("missing", [0, 5])
def test_logits_and_gradients_are_those_of_gpt2_with_the_same_weights(architecture, missing):
    ours = built(architecture, spread=0.3)
    theirs = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=architecture.vocab_size,
            n_positions=architecture.n_ctx,
            n_embd=architecture.d_model,
            n_layer=architecture.n_layer,
            n_head=architecture.n_head,
            n_inner=architecture.d_ff,
            activation_function="gelu_new",
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            tie_word_embeddings=architecture.tied_head,
            attn_implementation="eager",
            bos_token_id=None,
            eos_token_id=None,
        )
    )
    their_parameters = dict(theirs.named_parameters())

    def as_theirs(name, tensor):
        """Return the tensor as GPT-2 has it, whose layers in blocks are transposed."""
        return tensor.t() if "blocks" in name and tensor.dim() == 2 else tensor

    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            their_parameters.pop(name_in_gpt2(name)).copy_(as_theirs(name, parameter))
    assert not their_parameters

    inputs, targets = some_tokens(architecture, n_ctx=architecture.n_ctx - missing)
    our_logits, their_logits = ours(inputs), theirs(inputs).logits
    assert their_logits.std() > 1
    torch.testing.assert_close(our_logits, their_logits, atol=1e-4, rtol=1e-4)
    our_gradients = gradients(ours, our_logits, targets)
    their_gradients = gradients(theirs, their_logits, targets)
    assert len(our_gradients) == len(their_gradients)
    for name, gradient in our_gradients.items():
        expected = their_gradients[name_in_gpt2(name)]
        small = 1e-4 * expected.abs().max().item()
        torch.testing.assert_close(as_theirs(name, gradient), expected, atol=small, rtol=0)


@pytest.mark.parametrize(("n_layer", "tied_head"), [(1, True), (2, False), (4, True)])
def test_an_lstm_is_pytorchs_between_embedding_and_head(n_layer, tied_head):
    architecture = Architecture(
        architecture="lstm", n_layer=n_layer, d_model=19, tied_head=tied_head, **SIZES
    )
    ours = built(architecture, spread=0.3)
    recurrent = nn.LSTM(19, 19, n_layer, batch_first=True)
    weights = dict(ours.named_parameters())
    with torch.no_grad():
        for name, parameter in recurrent.named_parameters():
            if "bias" in name:  # PyTorch adds two; any two with the sum of ours are the same model
                shared = 0.25 if "bias_ih" in name else 0.75
                parameter.copy_(shared * weights["layers." + name.replace("_hh_", "_ih_")])
            else:
                parameter.copy_(weights["layers." + name])
    inputs, targets = some_tokens(architecture)
    embedding = weights["token_embedding.weight"]
    head = embedding if tied_head else weights["untied_head"]
    our_logits = ours(inputs)
    their_logits = recurrent(math.sqrt(19) * F.embedding(inputs, embedding))[0] @ head.t()
    torch.testing.assert_close(our_logits, their_logits)
    our_gradients = gradients(ours, our_logits, targets)
    for name, expected in gradients(recurrent, their_logits, targets).items():
        torch.testing.assert_close(
            our_gradients["layers." + name.replace("_hh_", "_ih_")]
            if "bias" in name
            else our_gradients["layers." + name],
            expected,
        )


def test_an_lstm_starts_every_sequence_from_the_same_state():
    model = built(KINDS["lstm"], spread=0.5)
    inputs, _ = some_tokens(KINDS["lstm"])
    together = model(inputs)
    torch.testing.assert_close(model(inputs), together)
    torch.testing.assert_close(model(inputs[1:2])[0], together[1])


def test_an_lstms_forget_gates_start_open():
    model = built(KINDS["lstm"])
    for name, bias in model.named_parameters():
        if "bias" in name:
            gates = bias.view(4, 16)  # input, forget, cell, output
            assert (gates[1] == 1).all() and not gates[[0, 2, 3]].any()


def test_as_much_enters_an_lstm_and_is_kept_from_token_to_token_whatever_its_width():
    for d_model in (32, 200):
        model = built(Architecture(architecture="lstm", n_layer=3, d_model=d_model, **SIZES))
        entering = []
        model.layers.register_forward_pre_hook(lambda _, given, seen=entering: seen.append(given))
        model(torch.arange(64).view(4, 16))
        assert entering[0][0].std().item() == pytest.approx(1, rel=0.1)
        for name, weight in model.layers.named_parameters():
            for gate in weight.chunk(4) if "weight" in name else ():
                if "weight_hh" in name:
                    torch.testing.assert_close(
                        gate @ gate.t(), torch.eye(d_model), atol=1e-5, rtol=0
                    )
                else:
                    assert gate.std().item() == pytest.approx(d_model**-0.5, rel=0.1)


def test_a_universal_transformer_is_one_unrolled_into_blocks_of_the_same_weights():
    architecture = KINDS["universal"]
    universal = built(architecture, spread=0.3)
    unrolled = build(
        architecture.model_copy(update={"architecture": "transformer", "n_layer": 6, "reuse": 1})
    )
    blocks = universal.blocks
    unrolled.load_state_dict(universal.state_dict(), strict=False)
    unrolled.blocks = nn.ModuleList(copy.deepcopy(blocks[n % 2]) for n in range(6))
    inputs, targets = some_tokens(architecture)
    logits, unrolled_logits = universal(inputs), unrolled(inputs)
    torch.testing.assert_close(logits, unrolled_logits)
    assert not torch.allclose(logits, unrolled_logits.roll(1, 0), atol=0.1)

    sums = {}
    for name, gradient in gradients(unrolled, unrolled_logits, targets).items():
        if name.startswith("blocks."):
            _, number, rest = name.split(".", 2)
            name = f"blocks.{int(number) % 2}.{rest}"
        sums[name] = sums.get(name, 0) + gradient
    for name, gradient in gradients(universal, logits, targets).items():
        torch.testing.assert_close(gradient, sums.pop(name), atol=1e-5, rtol=1e-4)
    assert not sums


def test_a_model_without_layers_predicts_from_the_last_token_and_its_position():
    architecture = KINDS["no layers"]
    model = built(architecture, spread=1.0)
    inputs, _ = some_tokens(architecture)
    other = inputs.clone()
    other[:, :-1] = 0
    torch.testing.assert_close(model(inputs)[:, -1], model(other)[:, -1])
    weights = dict(model.named_parameters())
    stream = weights["token_embedding.weight"][inputs[:, -1]]
    stream = stream + weights["position_embedding.weight"][-1]
    normalised = F.layer_norm(stream, (16,), weights["norm.weight"], weights["norm.bias"])
    expected = normalised @ weights["token_embedding.weight"].t()
    torch.testing.assert_close(model(inputs)[:, -1], expected)


@every_kind
def test_logits_are_the_product_of_hidden_states_and_head(architecture):
    model = built(architecture, spread=0.3)
    inputs, targets = some_tokens(architecture, n_ctx=7)
    hidden, head = model.hidden(inputs), model.head
    assert hidden.shape == (3, 7, 16) and head.shape == (64, 16)
    assert (head is model.token_embedding.weight) == architecture.tied_head
    logits = model(inputs)
    torch.testing.assert_close(logits, hidden @ head.t())
    assert all(gradient.any() for gradient in gradients(model, logits, targets).values())


@every_kind
def test_no_token_sees_a_later_one(architecture):
    model = built(architecture, spread=0.5)
    one, _ = some_tokens(architecture, batch=2)
    for place in (1, 9, 15):
        other = one.clone()
        other[:, place:] = (one[:, place:] + 7) % 64
        logits, changed = model(one), model(other)
        torch.testing.assert_close(logits[:, :place], changed[:, :place])
        assert not torch.isclose(logits[:, place:], changed[:, place:]).all(-1).any()


@every_kind
def test_a_new_model_guesses_about_uniformly(architecture):
    inputs, targets = some_tokens(architecture, batch=40)
    loss = F.cross_entropy(built(architecture)(inputs).flatten(0, 1), targets.flatten())
    assert loss.item() == pytest.approx(math.log(64), abs=0.1)


@every_kind
def test_the_global_generator_alone_decides_the_initial_weights(architecture):
    a, b, other = (built(architecture, seed).state_dict() for seed in (5, 5, 6))
    assert all(torch.equal(a[name], b[name]) for name in a)
    drawn = [name for name in a if a[name].dim() == 2]
    assert not any(torch.equal(a[name], other[name]) for name in drawn)


@pytest.mark.parametrize(("n_layer", "reuse"), [(3, 1), (2, 4)])
def test_what_a_block_adds_starts_the_smaller_the_more_blocks_are_passed(n_layer, reuse):
    architecture = Architecture(
        architecture="universal" if reuse > 1 else "transformer",
        n_layer=n_layer,
        d_model=96,
        n_head=2,
        d_ff=192,
        reuse=reuse,
        tied_head=False,
        **SIZES,
    )
    for name, parameter in built(architecture).named_parameters():
        if parameter.dim() == 2:
            adds = name.endswith(("projection.weight", "contract.weight"))
            expected = 0.02 / math.sqrt(2 * n_layer * reuse) if adds else 0.02
            assert parameter.std().item() == pytest.approx(expected, rel=0.05), name
        else:
            assert (parameter == float("norm.weight" in name)).all(), name


@every_kind
def test_dropout_acts_in_training_alone(architecture):
    model = built(architecture.model_copy(update={"dropout": 0.4}), spread=0.3)
    without = built(architecture, spread=0.3)
    inputs, _ = some_tokens(architecture)
    assert not torch.allclose(model(inputs), model(inputs))
    torch.testing.assert_close(model.eval()(inputs), without(inputs))


@pytest.mark.parametrize("left_out", ["projection", "contract"])
def test_a_transformer_drops_of_what_attention_and_feed_forward_layer_add(left_out):
    block = built(TRANSFORMER.model_copy(update={"dropout": 0.5}), spread=0.3).blocks[0]
    for parameter in getattr(block, left_out).parameters():
        nn.init.zeros_(parameter)
    x = torch.randn(4, 16, 16)
    assert (block(x) == x).float().mean().item() == pytest.approx(0.5, abs=0.08)
    assert not (block.eval()(x) == x).any()


@pytest.mark.parametrize("n_layer", [1, 3])
def test_an_lstm_drops_of_what_enters_and_leaves_every_layer(n_layer):
    architecture = Architecture(
        architecture="lstm", n_layer=n_layer, d_model=64, dropout=0.5, **SIZES
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # PyTorch warns of dropout between layers of one layer
        model = built(architecture, spread=0.3)
    inputs, _ = some_tokens(architecture)
    entering = []
    model.layers.register_forward_pre_hook(lambda _, arguments: entering.append(arguments[0]))
    for x in (model.hidden(inputs), entering[0]):
        assert (x == 0).float().mean().item() == pytest.approx(0.5, abs=0.05)
    between = not torch.equal(model.layers(entering[0])[0], model.layers(entering[0])[0])
    assert between == (n_layer > 1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_an_lstm_that_was_copied_and_cast_computes_the_same(dtype):
    model = built(KINDS["lstm"], spread=0.5)
    inputs, _ = some_tokens(KINDS["lstm"])
    other = copy.deepcopy(model).to(dtype)
    other.load_state_dict(model.state_dict())
    expected = model(inputs).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    torch.testing.assert_close(other(inputs), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "architecture",
    [
        Architecture(n_layer=48, d_model=1600, n_head=25, d_ff=6400, n_ctx=1024, vocab_size=50257),
        Architecture(architecture="lstm", n_layer=4, d_model=2500, n_ctx=1024, vocab_size=50257),
    ],
    ids=["transformer", "lstm"],
)
def test_the_papers_largest_models_can_be_described_without_memory(architecture):
    with torch.device("meta"):
        model = build(architecture)
    parameters = list(model.parameters())
    assert all(parameter.is_meta for parameter in parameters)
    total = sum(parameter.numel() for parameter in parameters)
    assert total == sum(parameter_groups(architecture).values())
    assert total > 1.5e9 if architecture.architecture == "transformer" else total > 3e8
