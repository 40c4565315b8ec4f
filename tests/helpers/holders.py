"""Another process that holds a run folder."""

HOLDER = """if True:
    import sys, time
    from astmoa.records.lock import hold
    with hold(sys.argv[1]):
        print("has it", flush=True)
        time.sleep(60)
"""
