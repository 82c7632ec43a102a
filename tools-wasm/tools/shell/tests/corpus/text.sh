### cat_two
cat README.md config.ini
### cat_numbered
cat -n words.txt
### cat_nonblank_numbers
cat -b src/main.rs
### cat_show_all
cat -A crlf.txt
### cat_squeeze
printf 'a\n\n\n\nb\n' | cat -s
### cat_missing
cat nope.txt; echo "code $?"
### cat_dash
echo middle | cat README.md - words.txt
### cat_space_name
cat "with space.txt"
### head_default
head numbers.txt
### head_n
head -n 3 words.txt
### head_short
head -2 words.txt
### head_negative
head -n -2 words.txt
### head_bytes
head -c 10 README.md
### head_many
head -n 1 README.md words.txt
### head_quiet
head -q -n 1 README.md words.txt
### tail_default
tail numbers.txt
### tail_n
tail -n 2 words.txt
### tail_plus
tail -n +3 words.txt
### tail_bytes
tail -c 5 words.txt
### tail_short
tail -1 log.txt
### tail_many
tail -n 1 README.md words.txt
### head_tail_slice
head -n 5 numbers.txt | tail -n 2
### wc_all
wc README.md words.txt
### wc_l
wc -l words.txt
### wc_l_stdin
wc -l < words.txt
### wc_w
wc -w README.md
### wc_c
wc -c README.md
### wc_m
wc -m unicode.txt
### wc_L
wc -L README.md
### wc_glob
wc -l src/*.rs
### wc_nonewline
wc -l nonewline.txt
### sort_plain
sort words.txt
### sort_reverse
sort -r words.txt
### sort_numeric
sort -n numbers.txt
### sort_numeric_reverse
sort -nr numbers.txt | head -3
### sort_unique
sort -u words.txt
### sort_key
sort -t, -k2 data.csv
### sort_key_numeric
sort -t, -k3,3n data.csv
### sort_key_reverse_numeric
sort -t, -k3,3nr data.csv
### sort_two_keys
sort -t, -k2,2 -k3,3nr data.csv
### sort_human
printf '1K\n2M\n512\n1G\n' | sort -h
### sort_version
printf 'v1.10\nv1.9\nv1.2\n' | sort -V
### sort_fold
printf 'b\nA\na\nB\n' | sort -f
### sort_stable
sort -s -k1,1 log.txt
### sort_month
printf 'Mar\nJan\nFeb\n' | sort -M
### sort_check
sort -c words.txt; echo $?
### sort_out
sort words.txt -o sorted.txt; cat sorted.txt
### sort_in_place
sort -o words.txt words.txt
### sort_merge
sort words.txt > a.s; printf 'banana\nzebra\n' > b.s; sort -m a.s b.s
### sort_zero
printf 'b\0a\0' | sort -z | tr '\0' '\n'
### sort_general
printf '1e3\n5\n1e2\n' | sort -g
### uniq_plain
sort words.txt | uniq
### uniq_count
sort words.txt | uniq -c
### uniq_top
sort words.txt | uniq -c | sort -rn | head -2
### uniq_dup
sort words.txt | uniq -d
### uniq_single
sort words.txt | uniq -u
### uniq_ignore_case
printf 'a\nA\nb\n' | uniq -i
### uniq_skip_fields
printf '1 a\n2 a\n3 b\n' | uniq -f1
### uniq_skip_chars
printf 'xa\nya\nzb\n' | uniq -s1
### cut_f
cut -d, -f1 data.csv
### cut_f_range
cut -d, -f2-3 data.csv
### cut_f_open
cut -d, -f2- data.csv
### cut_c
cut -c1-3 words.txt
### cut_complement
cut -d, --complement -f2 data.csv
### cut_only_delimited
cut -d: -f2 -s config.ini
### cut_output_delimiter
cut -d, -f1,3 --output-delimiter=' | ' data.csv
### cut_tab
printf 'a\tb\tc\n' | cut -f2
### cut_bytes
echo hello | cut -b2-4
### tr_upper
tr a-z A-Z < words.txt
### tr_class
tr '[:lower:]' '[:upper:]' < words.txt
### tr_delete
echo "a1b2c3" | tr -d 0-9
### tr_squeeze
echo "aaabbbccc" | tr -s a-c
### tr_complement
echo "a1 b2!" | tr -cd 'a-z0-9\n'
### tr_newline
tr '\n' ' ' < words.txt
### tr_delete_cr
tr -d '\r' < crlf.txt
### tr_words
tr -cs 'A-Za-z' '\n' < README.md | sort | uniq -c | sort -rn | head -5
### tr_set_pad
echo abc | tr abc xy
### nl_default
nl words.txt
### nl_all
nl -ba src/main.rs
### nl_format
nl -w3 -s': ' words.txt
### paste_two
paste words.txt numbers.txt | head -3
### paste_delim
paste -d, words.txt words.txt
### paste_serial
paste -sd, words.txt
### paste_stdin
seq 6 | paste - - -
### paste_plus
echo $(( $(seq 5 | paste -sd+) ))
### comm_three
printf 'a\nb\nc\n' > x; printf 'b\nc\nd\n' > y; comm x y
### comm_common
printf 'a\nb\nc\n' > x; printf 'b\nc\nd\n' > y; comm -12 x y
### comm_only_first
comm -23 <(sort -u words.txt) <(printf 'apple\n')
### join_basic
printf '1 a\n2 b\n' > x; printf '1 x\n2 y\n' > y; join x y
### join_sep
printf '1,a\n2,b\n' > x; printf '1,x\n3,y\n' > y; join -t, x y
### join_left
printf '1 a\n2 b\n' > x; printf '1 x\n' > y; join -a1 x y
### tac_file
tac words.txt
### rev_lines
rev words.txt
### fold_width
fold -w 10 README.md
### fold_space
fold -s -w 12 README.md
### expand_tabs
printf 'a\tb\n' | expand -t4
### unexpand_all
printf '        x\n' | unexpand
### seq_one
seq 3
### seq_step
seq 1 2 9
### seq_down
seq 5 -1 1
### seq_sep
seq -s, 5
### seq_width
seq -w 8 11
### seq_format
seq -f 'n%02g' 3
### seq_float
seq 0.5 0.5 2
### tee_file
echo hi | tee out.txt
### tee_append
echo one > out.txt; echo two | tee -a out.txt > /dev/null
### tee_many
echo x | tee a.out b.out > /dev/null; cat a.out b.out
### base64_enc
base64 README.md
### base64_dec
echo aGVsbG8= | base64 -d
### base64_nowrap
head -c 200 README.md | base64 -w0
### md5
md5sum README.md words.txt
### sha1
sha1sum README.md
### sha256
sha256sum README.md
### sha256_stdin
printf abc | sha256sum
### sha256_check
sha256sum README.md > sums; sha256sum -c sums
### sha512
printf abc | sha512sum | cut -c1-20
### cksum_plain
printf abc | cksum
### cmp_silent
cmp -s words.txt numbers.txt || echo differ
### diff_normal
printf 'a\nb\n' > x; printf 'a\nc\n' > y; diff x y; echo $?
### diff_unified
printf 'a\nb\n' > x; printf 'a\nc\n' > y; touch -d 2020-01-01 x y; diff -u x y | tail -n +3
### diff_brief
diff -q words.txt numbers.txt; echo $?
### diff_same
cp words.txt x; diff words.txt x && echo same
### od_hex
printf 'hello' | od -An -tx1
### od_chars
printf 'a\n' | od -c
### xxd_plain
printf 'hello' | xxd -p
### xxd_dump
head -c 20 README.md | xxd
### column_table
printf 'a,bb,c\ndddd,e,f\n' | column -t -s,
### split_lines
split -l 2 words.txt part_; ls part_*
### split_bytes
split -b 20 README.md chunk_; cat chunk_* | cmp -s - README.md && echo whole
### expr_sum
expr 3 + 4
### expr_match
expr abcdef : 'abc\(.*\)'
### expr_length
expr length hello
### expr_substr
expr substr hello 2 3
### factor_12
factor 12 97
### tsort_chain
printf 'a b\nb c\n' | tsort
### basename_plain
basename /a/b/c.txt
### basename_suffix
basename /a/b/c.txt .txt
### basename_many
basename -a -s .rs src/main.rs src/lib.rs
### dirname_plain
dirname /a/b/c.txt
### dirname_none
dirname file
### realpath_rel
realpath --relative-to=. src/main.rs
### readlink_plain
readlink link.txt
### readlink_f
basename "$(readlink -f link.txt)"
### strings_binary
strings binary.bin
### numfmt_iec
numfmt --to=iec 1048576
### numfmt_from
numfmt --from=iec 2K
### shuf_range
shuf -i 1-5 | sort
### yes_head
yes | head -3
### yes_text
yes no | head -2
### echo_e
echo -e 'a\tb\nc'
### echo_n
echo -n abc
### echo_plain_backslash
echo 'a\tb'
### printf_pad
printf '%-10s|%5d|\n' name 42
### printf_zero
printf '%05.2f\n' 3.14159
### printf_hex
printf '%x %X %o\n' 255 255 8
### printf_repeat
printf '%s\n' a b c
### printf_q
printf '%q\n' "a b'c"
### printf_b
printf '%b\n' 'a\tb'
### printf_char
printf '%c' hello; echo
### printf_percent
printf '100%%\n'
### printf_var
printf -v x '%03d' 7; echo "$x"
### printf_missing
printf '%s-%s\n' only
### printf_star
printf '%*d\n' 6 42
### date_fixed
date -u -d @0 +%Y-%m-%dT%H:%M:%SZ
### date_add
date -u -d '2024-02-28 + 2 days' +%F
### date_iso
date -u -d '2024-05-06 07:08:09' -Iseconds
### date_weekday
date -u -d 2024-01-01 +%A,%j,%U
### date_epoch
date -u -d '2001-09-09T01:46:40Z' +%s
### date_reference
date -u -r README.md +%F
### uniq_width
printf 'abc1\nabc2\nabd\n' | uniq -w3
### sort_ignore_blanks
printf '  b\n a\n' | sort -b
### sort_dictionary
printf '#b\na\n' | sort -d
### sort_key_char
printf 'xb2\nxa1\n' | sort -k1.2,1.3
### sort_long_options
sort --numeric-sort --reverse numbers.txt | head -2
### join_unpaired
printf '1 a\n2 b\n' > x; printf '1 x\n3 y\n' > y; join -v1 x y; join -v 2 x y
### join_format
printf '1 a\n2 b\n' > x; printf '1 x\n' > y; join -a1 -e NONE -o 0,1.2,2.2 x y
### join_fields
printf 'a 1\nb 2\n' > x; printf '1 x\n2 y\n' > y; join -1 2 -2 1 x y
### cat_ends
cat -E words.txt
### cat_tabs
printf 'a\tb\n' | cat -T
### head_verbose
head -v -n1 words.txt
### head_lines_long
head --lines=2 words.txt
### tail_quiet
tail -q -n1 README.md words.txt
### tail_bytes_plus
tail -c +5 words.txt
### nl_number_format
nl -n rz -w 4 words.txt
### nl_start_step
nl -v 10 -i 5 words.txt
### tr_upper_octal
printf 'a:b\n' | tr ':' '\011'
### tr_range_delete_squeeze
echo aabbcc | tr -ds a b
### fold_bytes
echo abcdefghij | fold -b -w4
### seq_negative
seq -2 2
### seq_equal_width
seq -w 1 10
### md5_check_fail
echo 'd41d8cd98f00b204e9800998ecf8427e  words.txt' | md5sum -c 2>/dev/null; echo $?
### b2sum_plain
printf abc | b2sum | cut -c1-16
### sha224_plain
printf abc | sha224sum
### base32_plain
printf hello | base32
### base32_decode
printf 'NBSWY3DP' | base32 -d
### od_address
printf 'abcdefghijklmnopqrst' | od -A d -t x1
### od_octal_default
printf 'ab' | od
### xxd_revert
printf '68656c6c6f' | xxd -r -p
### hexdump_canonical
printf 'hello world, hello' | hexdump -C
### column_plain_table
printf 'a b\nccc d\n' | column -t
### date_format_many
date -u -d '2024-12-25 13:14:15' '+%Y/%m/%d %H:%M %p %b %a %e %y'
### date_rfc
date -u -R -d @86400
### diff_missing
#! differs: a file that is not there is trouble (2) to diff, and this says that the files differ (1)
diff words.txt nope; echo $?
### diff_adds
printf 'a\nb\n' > x; printf 'a\nnew\nb\n' > y; diff x y
### cut_many_ranges
echo a,b,c,d,e | cut -d, -f1,3-4
### paste_newline_pairs
printf 'a\nb\nc\n' | paste -d' ' - -
### expr_compare
expr 2 '<' 3; expr a = b
### printf_exp
printf '%e %g\n' 12345.678 0.0001
### printf_left_zero
printf '%+d % d %-5d|\n' 5 5 5
### printf_quote_char
printf '%d\n' "'A"
### printf_octal_escape
printf '\101\n'
