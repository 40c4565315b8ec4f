"""What is trained: the inserted modules, how they are counted, and where they sit in the frozen backbone."""
