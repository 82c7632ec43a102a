### redirect_out
echo hello > out.txt; cat out.txt
### redirect_append
echo a > out.txt; echo b >> out.txt; cat out.txt
### redirect_in
wc -w < README.md
### redirect_err
ls nope 2> err.txt; wc -l < err.txt
### redirect_err_to_out
ls nope 2>&1 | wc -l
### redirect_both
{ echo out; echo err >&2; } &> both.txt; sort both.txt
### redirect_err_null
ls nope 2>/dev/null; echo $?
### redirect_order
{ echo o; echo e >&2; } > out.txt 2>&1; sort out.txt
### redirect_group
{ echo a; echo b; } > out.txt; cat out.txt
### redirect_loop
for i in 1 2 3; do echo $i; done > out.txt; cat out.txt
### redirect_truncate
: > words.txt; wc -c words.txt
### redirect_no_dir
echo x > no/such/file; echo $?
### redirect_to_dir
echo x > src; echo $?
### redirect_clobber
set -C; echo x > words.txt; echo $?
### redirect_fd3
exec_out() { echo visible; echo aside >&3; }; exec_out 3> aside.txt; cat aside.txt
### redirect_stdin_loop
while read -r line; do echo "[$line]"; done < words.txt
### pipe_three
cat words.txt | sort | uniq | wc -l
### pipe_status
false | true; echo $?
### pipefail
set -o pipefail; false | true; echo $?
### pipestatus
false | true | false; echo "${PIPESTATUS[@]}"
### pipe_err
ls nope |& wc -l
### not_pipe
! grep -q nothing words.txt; echo $?
### and_or
true && echo yes || echo no
### or_and
false && echo yes || echo no
### semicolons
echo a; echo b; echo c
### subshell_cd
(cd src && pwd | sed 's|.*/||'); pwd | sed 's|.*/||'
### subshell_var
x=1; (x=2); echo $x
### group_var
x=1; { x=2; }; echo $x
### heredoc
cat <<EOF
hello $((1+1))
EOF
### heredoc_quoted
cat <<'EOF'
$HOME `x` $(y)
EOF
### heredoc_file
cat > new.txt <<EOF
line one
line two
EOF
cat new.txt
### heredoc_tabs
cat <<-EOF
	indented
	EOF
### heredoc_pipe
cat <<EOF | sort
b
a
EOF
### heredoc_var
name=World
cat <<EOF
Hello, $name ($(echo sub))
EOF
### heredoc_append
cat >> words.txt <<'EOF'
zebra
EOF
tail -1 words.txt
### heredoc_code
cat > script.py <<'PY'
def f(x):
    return "$x" + '\n'
PY
cat script.py
### heredoc_two
cat <<A; cat <<B
one
A
two
B
### heredoc_loop
while IFS=: read -r k v; do echo "$v=$k"; done <<EOF
a:1
b:2
EOF
### herestring
cat <<< "one line"
### herestring_read
read -r a b <<< "x y z"; echo "$b|$a"
### herestring_var
v="a b"; wc -w <<< "$v"
### for_list
for x in a b c; do echo $x; done
### for_glob
for f in src/*.rs; do echo "${f##*/}"; done
### for_seq
for i in $(seq 3); do echo -n "$i "; done; echo
### for_brace
for i in {1..4}; do echo -n $i; done; echo
### for_c
for ((i=0; i<3; i++)); do echo $i; done
### for_array
a=(x "y z" w); for e in "${a[@]}"; do echo "<$e>"; done
### for_break
for i in 1 2 3 4; do [ $i -eq 3 ] && break; echo $i; done
### for_continue
for i in 1 2 3; do [ $i -eq 2 ] && continue; echo $i; done
### for_lines
for l in $(cat words.txt); do echo "$l"; done
### for_nested
for i in 1 2; do for j in a b; do echo $i$j; done; done
### for_args
set -- p q r; for a; do echo $a; done
### for_rename
for f in *.txt; do mv "$f" "${f%.txt}.text"; done; ls
### while_counter
i=0; while [ $i -lt 3 ]; do echo $i; i=$((i+1)); done
### while_arith
i=3; while ((i > 0)); do echo $((i--)); done
### until_loop
i=0; until [ $i -ge 2 ]; do echo $i; ((i++)); done
### while_read_pipe
cat words.txt | while read -r w; do echo "${#w}"; done
### while_read_fields
while IFS=, read -r n d a; do echo "$n is $a"; done < data.csv
### while_true_break
n=0; while true; do n=$((n+1)); [ $n -gt 4 ] && break; done; echo $n
### while_read_noeol
while read -r l || [ -n "$l" ]; do echo "$l"; done < nonewline.txt
### if_file
if [ -f README.md ]; then echo file; else echo none; fi
### if_dir
if [ -d src ]; then echo dir; fi
### if_elif
x=5; if [ $x -lt 3 ]; then echo small; elif [ $x -lt 10 ]; then echo medium; else echo big; fi
### if_command
if grep -q apple words.txt; then echo has; fi
### if_not
if ! [ -e nope ]; then echo missing; fi
### test_exists
[ -e README.md ] && [ ! -e nope ] && echo ok
### test_size
[ -s README.md ] && echo nonempty; [ -s empty.txt ] || echo empty
### test_link
[ -L link.txt ] && echo link; [ -h README.md ] || echo plain
### test_string
[ "abc" = "abc" ] && [ "abc" != "abd" ] && echo ok
### test_zero
[ -z "" ] && [ -n "x" ] && echo ok
### test_numbers
[ 3 -gt 2 ] && [ 2 -le 2 ] && [ 1 -ne 2 ] && echo ok
### test_and
[ 1 -eq 1 -a 2 -eq 2 ] && echo both
### test_newer
touch -d 2030-01-01 README.md; [ README.md -nt words.txt ] && echo newer
### test_word
test -f words.txt && echo yes
### dbracket_glob
f=main.rs; [[ $f == *.rs ]] && echo rust
### dbracket_regex
[[ "v1.22" =~ ^v([0-9]+)\.([0-9]+)$ ]] && echo "${BASH_REMATCH[1]} ${BASH_REMATCH[2]}"
### dbracket_and
[[ -f README.md && -d src ]] && echo both
### dbracket_or
[[ -f nope || -d src ]] && echo one
### dbracket_less
[[ apple < banana ]] && echo less
### dbracket_empty
[[ -z $unset ]] && echo unset
### dbracket_not
[[ ! -e nope ]] && echo gone
### dbracket_num
[[ 10 -gt 9 ]] && echo more
### dbracket_v
x=1; [[ -v x ]] && echo set; [[ -v y ]] || echo unset
### case_glob
case main.rs in *.rs) echo rust;; *) echo other;; esac
### case_alt
case yes in y|yes) echo ok;; n|no) echo no;; esac
### case_default
case zzz in a) echo a;; *) echo default;; esac
### case_class
case 7 in [0-9]) echo digit;; esac
### case_fall
case a in a) echo 1;& b) echo 2;; esac
### case_var
ext="${PWD##*.}"; case "$ext" in */*) echo none;; *) echo "some";; esac
### arith_basic
echo $((2 + 3 * 4)) $((10 / 3)) $((10 % 3)) $((2 ** 8))
### arith_vars
a=5; b=3; echo $((a + b)) $((a > b)) $((a == b))
### arith_ternary
x=4; echo $((x > 3 ? 1 : 0))
### arith_bits
echo $((5 & 3)) $((5 | 3)) $((5 ^ 3)) $((1 << 4)) $((~0))
### arith_hex
echo $((0xff)) $((010)) $((2#101))
### arith_assign
((x = 5, x += 2)); echo $x
### arith_inc
x=1; echo $((x++)) $x $((++x))
### arith_let
let "y = 3 * 4"; echo $y
### arith_if
if ((3 > 2)); then echo yes; fi
### arith_div_zero
echo $((1/0)); echo "code $?"
### arith_neg
echo $((-7 / 2)) $((-7 % 3))
### arith_nested
echo $(( (1 + 2) * (3 + 4) ))
### arith_sub
n=$(wc -l < words.txt); echo $((n * 2))
### array_basic
a=(one two three); echo ${a[1]} ${#a[@]}
### array_all
a=(x y z); echo "${a[@]}" "${a[*]}"
### array_append
a=(1); a+=(2 3); echo "${a[@]}"
### array_slice
a=(a b c d e); echo "${a[@]:1:3}" "${a[@]: -2}"
### array_index
a=(p q); echo "${!a[@]}"
### array_unset
a=(1 2 3); unset 'a[1]'; echo "${a[@]}" ${#a[@]}
### array_from_cmd
files=(src/*.rs); echo ${#files[@]}
### array_mapfile
mapfile -t lines < words.txt; echo "${#lines[@]} ${lines[0]}"
### array_readarray
readarray -t l < <(sort words.txt); echo "${l[0]}"
### array_join
a=(x y z); (IFS=,; echo "${a[*]}")
### array_assoc
declare -A m=([a]=1 [b]=2); m[c]=3; for k in $(echo "${!m[@]}" | tr ' ' '\n' | sort); do echo $k=${m[$k]}; done
### array_assoc_count
declare -A c; while read -r w; do ((c[$w]++)); done < words.txt; for k in "${!c[@]}"; do echo "$k ${c[$k]}"; done | sort
### array_len_each
a=(aa b ccc); for e in "${a[@]}"; do echo ${#e}; done
### array_replace
a=(foo bar); echo "${a[@]/o/0}"
### array_last
a=(1 2 3); echo "${a[-1]}" "${a[${#a[@]}-1]}"
### array_read_a
IFS=, read -ra p <<< "a,b,c"; echo "${p[2]}"
### function_basic
greet() { echo "hello $1"; }; greet world
### function_keyword
function f { echo "$#: $*"; }; f a b c
### function_return
f() { return 3; }; f; echo $?
### function_local
x=1; f() { local x=2; echo $x; }; f; echo $x
### function_output
double() { echo $(($1 * 2)); }; echo $(double 21)
### function_args_loop
f() { for a in "$@"; do echo "<$a>"; done; }; f "a b" c
### function_shift
f() { while [ $# -gt 0 ]; do echo $1; shift; done; }; f x y
### function_pipe
up() { tr a-z A-Z; }; echo abc | up
### function_in_if
ok() { [ "$1" = yes ]; }; if ok yes; then echo good; fi
### function_default
f() { echo "${1:-none}"; }; f; f given
### function_nested_call
a() { echo a; b; }; b() { echo b; }; a
### function_heredoc
usage() { cat <<EOF
usage: $0
EOF
}; usage
### function_getopts
f() { local OPTIND o; while getopts "ab:" o; do case $o in a) echo A;; b) echo "B=$OPTARG";; esac; done; }; f -a -b val
### param_default
echo ${x:-default} ${x-unset}
### param_assign
: ${x:=5}; echo $x
### param_alt
x=1; echo ${x:+set} ${y:+set}end
### param_error
(: ${missing:?need it}) 2>/dev/null; echo $?
### param_len
s=hello; echo ${#s}
### param_prefix
p=/a/b/c.tar.gz; echo ${p#*/} ${p##*/}
### param_suffix
p=/a/b/c.tar.gz; echo ${p%.*} ${p%%.*}
### param_replace
s=banana; echo ${s/a/o} ${s//a/o}
### param_replace_anchor
s=banana; echo ${s/#b/B} ${s/%a/A}
### param_substr
s=abcdef; echo ${s:2} ${s:1:3} ${s: -2}
### param_case
s=Hello; echo ${s^^} ${s,,} ${s^} ${s,}
### param_indirect
v=name; name=val; echo ${!v}
### param_quote
s="it's"; echo ${s@Q}
### param_delete
s=a-b-c; echo ${s//-/}
### param_nested
x=; y=inner; echo ${x:-${y}}
### param_positional
set -- a b c; echo $1 $# "$*" ${@:2}
### param_special
true; echo $?; echo $#
### param_dirname
p=src/lib/util.rs; echo "${p%/*} $(basename $p .rs)"
### param_default_cmd
echo "${x:-$(echo from command)}"
### param_prefix_names
abc1=1; abc2=2; echo ${!abc*}
### quote_single
echo 'a $b `c` "d"'
### quote_double
x=1; echo "x=$x \$x \"q\""
### quote_ansi
echo $'a\tb\x41\u00e9'
### quote_mixed
echo "a"'b'c
### quote_spaces
x="a   b"; echo $x; echo "$x"
### quote_empty
f() { echo $#; }; f "" ''
### quote_backslash
echo a\ b \\ \"
### quote_glob
echo "*" '*' \*
### glob_star
echo *.txt
### glob_question
echo ?ords.txt
### glob_class
echo [rw]*.txt
### glob_none
echo *.nope
### glob_dirs
echo */
### glob_nested
echo src/*/*
### glob_hidden
echo .e*
### glob_globstar
shopt -s globstar; echo **/*.rs
### glob_nullglob
shopt -s nullglob; echo *.nope end
### glob_extglob
shopt -s extglob
echo !(*.txt|*.rs)
### glob_negated
echo [!a-v]*.txt
### glob_quoted_space
ls "with space.txt"
### brace_list
echo {a,b,c}.txt
### brace_range
echo {1..5} {a..e}
### brace_step
echo {0..10..5}
### brace_pad
echo {01..03}
### brace_nested
echo {a,b{1,2}}
### brace_mkdir
mkdir -p proj/{src,test}/{a,b}; find proj | sort
### brace_copy
cp words.txt{,.bak}; ls words*
### brace_empty
echo x{,y}
### cmdsub_basic
echo "today: $(echo now)"
### cmdsub_nested
echo $(echo $(echo deep))
### cmdsub_backtick
echo `echo old`
### cmdsub_newlines
x=$(printf 'a\n\n\n'); echo "[$x]"
### cmdsub_file
x=$(<words.txt); echo "$x" | head -1
### cmdsub_exit
x=$(false); echo $?
### cmdsub_quotes
echo "$(echo "inner quotes")"
### cmdsub_in_arith
echo $(( $(wc -l < words.txt) + 1 ))
### procsub_diff
diff <(sort words.txt) <(sort -r words.txt) | head -2
### procsub_while
while read -r l; do n=$((n+1)); done < <(cat words.txt); echo $n
### procsub_paste
paste <(seq 2) <(seq 3 4)
### procsub_comm
comm -13 <(printf 'a\nb\n') <(printf 'b\nc\n')
### set_e
set -e; echo a; false; echo b
### set_e_if
set -e; if false; then :; fi; echo alive
### set_e_or
set -e; false || true; echo alive
### set_u
#! differs: an unset variable under `set -u` ends bash -c with 127, and this with 1 as it does a script
set -u; echo $undefined; echo after
### set_euo
set -euo pipefail; x=1; echo $x; cat words.txt | head -1
### set_f
set -f; echo *.txt
### exit_code
exit 7
### exit_in_subshell
(exit 4); echo $?
### return_status
f() { false; }; f; echo $?
### trap_exit
trap 'echo bye' EXIT; echo hi
### trap_exit_cleanup
t=work.tmp; touch $t; trap 'rm -f work.tmp' EXIT; ls work.tmp
### eval_literal
eval 'x=5; echo $x'
### bash_c
bash -c 'echo "$1 $0"' zero one
### bash_c_loop
bash -c 'for i in 1 2; do echo $i; done'
### command_prefix
command echo hi
### builtin_prefix
builtin echo hi
### env_var
env A=1 bash -c 'echo $A'
### env_prefix
A=5 bash -c 'echo $A'
### export_child
export Q=9; bash -c 'echo $Q'
### unset_var
x=1; unset x; echo "[${x}]"
### readonly_var
readonly r=1; r=2; echo "code $?"
### declare_i
declare -i n; n=3+4; echo $n
### declare_x
declare -x E=1; printenv E
### local_array
f() { local a=(1 2); echo ${#a[@]}; }; f; echo ${#a[@]}
### nameref
f() { declare -n r=$1; r=changed; }; v=old; f v; echo $v
### ifs_split
IFS=:; x=a:b:c; set -- $x; echo $2
### read_multi
echo "a b c d" | { read -r x y rest; echo "$rest|$y|$x"; }
### read_delim
printf 'a;b;' | { read -r -d ';' x; echo $x; }
### read_n
echo hello | { read -n 2 x; echo $x; }
### cd_back
cd src; cd ..; basename "$PWD" > /dev/null; ls | head -2
### cd_dash
cd src; cd - > /dev/null; [ -d src ] && echo back
### cd_missing
cd nope; echo $?
### pushd_popd
pushd src > /dev/null; basename "$PWD"; popd > /dev/null; ls -d src
### unknown_var_arith
echo $((undefined + 1))
### line_continuation
echo one \
  two
### comments
echo a # comment
# whole line
### multi_statement
x=1
y=2
if [ $x -lt $y ]; then
  echo "less"
fi
### semicolon_newline
for f in a b
do
  echo $f
done
### long_pipeline
cat log.txt | grep -v INFO | awk '{print $3}' | sort | uniq -c | sort -rn | sed 's/^ *//'
### timeout_ok
timeout 5 echo done
### sleep_short
sleep 0.01; echo slept
### stdin_none
read -r x; echo "[$x] $?"
### unicode_len
s=$(head -1 unicode.txt); echo ${#s}
### unicode_slice
s=äöü; echo ${s:1:1}
### unicode_grep
grep -c é unicode.txt
