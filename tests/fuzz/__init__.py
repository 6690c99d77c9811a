"""Coverage-guided fuzzing of everything that takes bytes of others: `python -m tests.fuzz --help`.

A *target* drives real code with the bytes of an input, and checks what must hold whatever they are.
`targets` is the table of them. atheris makes inputs that reach new code; those worth keeping are in
`corpus/<target>/`, and `test_corpus` replays them wherever the tests run, without atheris.
"""
