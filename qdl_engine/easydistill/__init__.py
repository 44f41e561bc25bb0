"""All that knows EasyDistill.

Here: the 1.x config that both runtimes take, its job types and template, and the command line of a runtime.
`version1` starts the unmodified 1.0, `imported` runs configs that somebody else wrote.
"""
