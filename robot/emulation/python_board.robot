*** Settings ***
Documentation       The Python board through the serial backend: the cost model's own figures, by way of the protocol.

Resource            ../resources/hil.resource

Suite Setup         Start The Board
Suite Teardown      Stop Emulated Boards
Test Timeout        1 minute

Test Tags           emulation    engine:python


*** Test Cases ***
Every Phase Is The Cost Model's
    FOR    ${phase}    IN    npu_init    weight_load    input_load    inference    output_read    post_process
        Latency Should Agree With    ${PREDICTED}    ${phase}    1%
    END

Output Bytes Equal The Reference
    Output Should Equal Reference

Predictions On The Test Set Equal The Reference's
    ${run}=    Run Benchmark    zoo:digits    data_set=digits
    Accuracy Should Equal Reference
    ${share}=    Get Accuracy
    Should Be True    ${share} > 0.9

The Transcript And The Timeline Are In The Log
    Attach Transcript
    Attach Plot


*** Keywords ***
Start The Board
    [Timeout]    2 minutes
    Use Platform    max78000
    ${predicted}=    Run Benchmark    zoo:digits
    VAR    ${PREDICTED}    ${predicted}    scope=SUITE
    ${url}=    Start Emulated Board    engine=python
    Use Backend    serial    port=${url}
    Run Benchmark
