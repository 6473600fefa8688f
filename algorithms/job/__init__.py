"""A joint job at one party: what it is told to do, how it runs, and what it leaves behind.

records    what is known of a run, as figures; never a value of the data
folder     the folder in which that lies: written while the run goes on, read again afterwards
timeline   when a party did what, coarse enough to be shown to the others
"""
