use super::configuration::tables;
use super::help::Help;

#[test]
fn both_layouts_of_help_become_lists() {
    let text = "\
Does a thing.

Usage: thing [OPTIONS] <FILE>
       thing <COMMAND>

Commands:
  do    Does it
  help  Prints this

Arguments:
  <FILE>  The file

Options:
      --seed <K>
          Seed of the noise,
          on two lines

          [default: 0]

      --metrics <LIST>
          Possible values:
          - psnr: Peak <b>

  -h, --help  Print help

Try:
  thing |
    other
";
    let help = Help::parse(text);
    assert_eq!(help.subcommands().collect::<Vec<_>>(), ["do"]);
    assert!(!help.repeats(&Help::parse(
        "Usage: thing do\n\nOptions:\n  --fast  Faster\n"
    )));
    assert!(help.repeats(&Help::parse(text)));
    let expected = "\
Does a thing.

```text
thing [OPTIONS] <FILE>
thing <COMMAND>
```

**Commands**

- `do`: Does it

**Arguments**

- `<FILE>`: The file

**Options**

- `--seed <K>`: Seed of the noise, on two lines [default: 0]
- `--metrics <LIST>`: Possible values:
  - psnr: Peak \\<b>

**Try**

```text
  thing |
    other
```
";
    assert_eq!(help.markdown(), expected);
}

#[test]
fn commented_configurations_become_tables() {
    let toml = "\
# Every key, and where the file comes from:
#   a command
name = \"\"     # what it is called

# Leave this section out
# to go without.
[run]         # of a run
steps = 10    # \"a | b\"
# out = \"a#b\" # folder
# [extra]
# key = 1
";
    let expected = "
| key | value | meaning |
|---|---|---|
| `name` | `\"\"` | what it is called |

### `[run]`

of a run

Leave this section out to go without.

| key | value | meaning |
|---|---|---|
| `steps` | `10` | \"a \\| b\" |
| `out` | `\"a#b\"` | *optional.* folder |

### `[extra]`

*optional*

| key | value | meaning |
|---|---|---|
| `key` | `1` |  |
";
    assert_eq!(tables(toml), expected);
}
