"""Which trials, and where they run. The only room that imports ray (or optuna); nothing here is imported by `import
astmoa`."""
