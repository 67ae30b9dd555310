*** Settings ***
Documentation       Does a board speak the DUT protocol of docs/protocol.md?
...
...                 robot robot/protocol    the Python board, every QEMU machine, a board in Renode
...                 robot --variable PORT:/dev/ttyACM0 robot/protocol    a board on a cable

Library             Collections
Library             hil.robot.ForEach    board
Resource            ../resources/hil.resource

Suite Setup         Open The Board
Suite Teardown      Stop Emulated Boards
Test Timeout        1 minute

Test Tags           protocol


*** Variables ***
${BOARD_PORT}       ${EMPTY}
${FLOAT}            -?(\\d+(\\.\\d+)?|nan|inf)
${WORD}             [A-Za-z0-9_.:+/-]+
@{EIGHT}            m-\\[Expecting 8 bytes\\]


*** Test Cases ***
A Booting Board Says How It Runs And That It Is Ready
    ${engine}=    Get Variable Value    ${BOARD_ENGINE}    a cable
    Skip If    len($BANNER) < 3 and $engine not in ("python", "qemu")    the board booted before its port was opened: reset it
    Should Be True    len($BANNER) >= 3    the board said ${BANNER} and not that it booted
    Should Match Regexp    ${BANNER}[-3]    ^m-timestamp-mode-(performance|energy)$
    Should Be Equal    ${BANNER}[-2:]    ${{["m-init-done", "m-ready"]}}

An Unknown Command Is Refused By Its First Word
    Board Should Refuse    hil-sync-0001    Unknown command: hil-sync-0001
    Board Should Refuse    nonsense 1 2    Unknown command: nonsense
    Board Should Refuse    NAME    Unknown command: NAME

An Empty Command Is Refused
    Board Should Refuse    ${EMPTY}

A Command May Come In Pieces, With Line Ends In It
    Send To Board    na
    Send To Board    \r\nm
    Send To Board    e%
    Expect From Board    m-name-dut-\\[.*\\]
    Expect From Board    m-ready

Commands That Come Together Are Done In Order
    Send To Board    name%hil-a%timestamp%
    Expect From Board    m-name-dut-\\[.*\\]
    Expect From Board    m-ready
    Expect From Board    e-\\[Unknown command: hil-a\\]
    Expect From Board    m-ready
    Expect From Board    m-lap-us-\\d+
    Expect From Board    m-ready

A Command Of 80 Bytes Is Read
    ${word}=    Evaluate    "x" * 79
    Board Should Refuse    ${word}    Unknown command: ${word}

A Longer Command Is Refused And Overruns Nothing
    FOR    ${length}    IN    80    81    200    5000
        ${word}=    Evaluate    "x" * ${length}
        Board Should Refuse    ${word}    Command too long
    END
    Board Should Answer    name    m-name-dut-\\[.*\\]

The Name And The Profile Are Constant
    FOR    ${verb}    IN    name    profile
        ${first}=    Ask Board    ${verb}
        ${second}=    Ask Board    ${verb}
        Should Be Equal    ${first}    ${second}
    END
    Board Should Answer    profile    m-profile-\\[.*\\]    m-model-\\[.*\\]

The Clock Does Not Go Backwards
    ${before}=    Get Board Clock
    Load Eight Bytes
    Ask Board    infer 1 0
    ${after}=    Get Board Clock
    Should Be True    ${after} >= ${before}

Help Ends With The Prompt
    ${lines}=    Ask Board    help
    Should Not Be Empty    ${lines}

A Load Is Announced, Filled And Closed
    Board Should Answer    db load 8    @{EIGHT}
    Board Should Answer    db 0001020304
    Board Should Answer    db 050607    m-load-done
    Board Should Answer    db print    m-buffer-00-01-02-03-04-05-06-07

Hex Digits May Be Upper Case
    Board Should Answer    db load 3    m-\\[Expecting 3 bytes\\]
    Board Should Answer    db ABCDEF    m-load-done
    Board Should Answer    db print    (?i)m-buffer-ab-cd-ef

Digits Beyond The Announced Bytes Overrun Nothing
    [Documentation]    The protocol leaves open whether they are refused or disregarded.
    Board Should Answer    db load 2    m-\\[Expecting 2 bytes\\]
    ${lines}=    Ask Board    db 010203
    Should Match Regexp    ${lines}[0]    ^(m-load-done|e-\\[.*\\])$
    IF    $lines[0] == "m-load-done"    Board Should Answer    db print    m-buffer-01-02
    Board Should Answer    name    m-name-dut-\\[.*\\]

A Load Of Nothing Or Of Too Much Is Refused
    Board Should Refuse    db load 0
    Board Should Refuse    db load
    Board Should Refuse    db load -1
    Board Should Refuse    db load 999999999

Bytes That Nobody Announced Are Refused
    Load Eight Bytes
    Board Should Refuse    db 00

Digits That Are None Are Refused
    Board Should Answer    db load 8    @{EIGHT}
    Board Should Refuse    db 0g
    Board Should Refuse    db 012
    Board Should Refuse    db

An Inference Says When It Starts, When It Ends, And What Came Out
    Load Eight Bytes
    ${lines}=    Ask Board    infer 2 1    within=50 s
    Inference Should Be Complete    ${lines}    2    1

Without Arguments It Is One Inference After Ten Warm-Ups
    Load Eight Bytes
    ${lines}=    Ask Board    infer    within=50 s
    Inference Should Be Complete    ${lines}    1    10

An Inference Of Nothing Is Refused
    Board Should Refuse    infer 0
    Board Should Refuse    infer nonsense

The Same Input Gives The Same Results Again
    Load Eight Bytes
    ${first}=    Ask Board    infer 1 0    within=50 s
    ${second}=    Ask Board    infer 1 0    within=50 s
    Should Be Equal    ${first}[-1]    ${second}[-1]
    Board Should Answer    results    ${{re.escape($first[-1])}}

What Is Not Announced Is Unknown
    ${features}=    Get Board Features
    FOR    ${verb}    IN    phases    point    memory    outputs    ops    laps    borders
        IF    $verb not in $features    Board Should Refuse    ${verb}    Unknown command: ${verb}
    END

Phases Are In Order And Count Inferences Without Warm-Ups
    Need    phases
    Load Eight Bytes
    Ask Board    infer 3 2    within=50 s
    ${lines}=    Ask Board    phases
    Should Be Equal    ${lines}[-1]    m-phases-done
    ${counts}=    Names Should Be In Order    ${lines}[:-1]    m-phase-\\[(\\w+),\\d+,(\\d+)\\]
    ...    npu_init    weight_load    input_load    inference    output_read    post_process
    Should Be Equal    ${counts}[inference]    3

Steps Of Ops Count Inferences Without Warm-Ups
    Need    ops
    Load Eight Bytes
    Ask Board    infer 3 2    within=50 s
    ${lines}=    Ask Board    ops
    Should Be Equal    ${lines}[-1]    m-ops-done
    FOR    ${line}    IN    @{lines}[:-1]
        Should Match Regexp    ${line}    ^m-op-\\[\\d+,\\d+,\\d+,3\\]$
    END

The Point Names Platform, Clocks And Voltage
    Need    point
    Board Should Answer    point    m-point-\\[${WORD},${WORD},\\d+,\\d+,\\d+\\]

Memory Roles Are Known And In Order
    Need    memory
    ${lines}=    Ask Board    memory
    Should Be Equal    ${lines}[-1]    m-memory-done
    Names Should Be In Order    ${lines}[:-1]    m-memory-\\[(\\w+),\\d+,(\\d+)\\]
    ...    weights    activations    program

Outputs Have No Gaps
    Need    outputs
    Load Eight Bytes
    Ask Board    infer 1 0    within=50 s
    ${lines}=    Ask Board    outputs
    Should Be Equal    ${lines}[-1]    m-outputs-done
    VAR    ${expected}    ${{(0, 0)}}
    FOR    ${line}    IN    @{lines}[:-1]
        ${found}=    Evaluate    re.fullmatch(r"m-output-\\[(\\d+),(\\d+),((?:[0-9a-f]{2}){1,32})\\]", $line)
        Should Be True    $found is not None    outputs: no line of an output: ${line}
        ${at}=    Evaluate    (int($found[1]), int($found[2]))
        Should Be True    $at == $expected or $at == ($expected[0] + 1, 0)    gap before ${line}
        VAR    ${expected}    ${{($at[0], $at[1] + len($found[3]) // 2)}}
    END

The Laps Of The Last Inference Can Be Read Again
    Need    laps
    Load Eight Bytes
    ${lines}=    Ask Board    infer 2 0    within=50 s
    ${laps}=    Evaluate    [line.removeprefix("m-lap-us-") for line in $lines if line.startswith("m-lap-us-")]
    Board Should Answer    laps    m-laps-\\[${laps}[0],${laps}[1]\\]

Borders Are In Order, Do Not Overlap, And Hold The Inferences Within The Laps
    Need    borders
    Load Eight Bytes
    ${lines}=    Ask Board    infer 3 2    within=50 s
    ${laps}=    Evaluate    [int(line.removeprefix("m-lap-us-")) for line in $lines if line.startswith("m-lap-us-")]
    ${lines}=    Ask Board    borders
    Should Be Equal    ${lines}[-1]    m-borders-done
    ${starts}=    Names Should Be In Order    ${lines}[:-1]    m-border-\\[(\\w+),(\\d+),\\d+\\]
    ...    npu_init    weight_load    input_load    inference    output_read    post_process
    ${ends}=    Names Should Be In Order    ${lines}[:-1]    m-border-\\[(\\w+),\\d+,(\\d+)\\]
    ...    npu_init    weight_load    input_load    inference    output_read    post_process
    ${times}=    Evaluate    list(map(int, itertools.chain(*zip($starts.values(), $ends.values()))))
    Should Be True    $times == sorted($times)    borders overlap: ${lines}
    IF    $laps
        ${first}=    Evaluate    $laps[0] * 1000
        ${last}=    Evaluate    ($laps[1] + 1) * 1000
        Should Be True    ${first} <= ${starts}[inference] <= ${ends}[inference] <= ${last}
        ...    the inference is not within the laps ${laps}: ${lines}
    END

Nothing Failed Behind The Port
    Board Should Still Run


*** Keywords ***
Open The Board
    [Timeout]    3 minutes
    [Documentation]    The board at the port, or an emulated one that runs the digits; that one boots when its port opens.
    IF    $BOARD_PORT
        ${banner}=    Open Board    ${BOARD_PORT}
    ELSE
        ${url}=    Start Emulated Board    ${BOARD_PLATFORM}    zoo:digits    ${BOARD_ENGINE}
        ${banner}=    Open Board    ${url}    boot=20 s
    END
    VAR    ${BANNER}    ${banner}    scope=SUITE

Load Eight Bytes
    Board Should Answer    db load 8    @{EIGHT}
    Board Should Answer    db 0011223344556677    m-load-done

Need
    [Documentation]    Skips where the board does not announce an optional verb.
    [Arguments]    ${feature}
    ${features}=    Get Board Features
    Skip If    $feature not in $features    the board does not announce '${feature}'

Inference Should Be Complete
    [Arguments]    ${lines}    ${inferences}    ${warmups}
    Should Be Equal    ${lines}[:3]
    ...    ${{["m-warmup-start-${warmups}", "m-warmup-done", "m-infer-start-${inferences}"]}}
    Should Be Equal    ${lines}[-2]    m-infer-done
    Should Match Regexp    ${lines}[-1]    ^m-results-\\[(${FLOAT}(,${FLOAT})*)?\\]$
    ${laps}=    Evaluate    [int(line.removeprefix("m-lap-us-")) for line in $lines[3:-2]]
    Should Be True    $laps == sorted($laps) and len($laps) in (0, 2)    laps: ${laps}
    Board Should Answer    results    ${{re.escape($lines[-1])}}

Names Should Be In Order
    [Documentation]    Every line fits the pattern; its first groups are some of the known names, each once, in their
    ...    order. Returns the second groups by name.
    [Arguments]    ${lines}    ${pattern}    @{known}
    VAR    &{found}
    FOR    ${line}    IN    @{lines}
        ${match}=    Evaluate    re.fullmatch($pattern, $line)
        Should Be True    $match is not None    unexpected line: ${line}
        Set To Dictionary    ${found}    ${match}[1]=${match}[2]
    END
    ${names}=    Get Dictionary Keys    ${found}    sort_keys=False
    Length Should Be    ${lines}    ${{len($names)}}    a name comes twice: ${lines}
    Should Be Equal    ${names}    ${{list(filter($names.__contains__, $known))}}
    RETURN    ${found}
